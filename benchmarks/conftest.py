"""Print what each benchmark found out besides its time: ratios to the plain way, sizes, stages."""


def pytest_terminal_summary(terminalreporter, config):
    """A line a benchmark with its `extra_info`."""
    session = getattr(config, "_benchmarksession", None)
    for bench in getattr(session, "benchmarks", []):
        if bench.extra_info:
            found = ", ".join(f"{key}: {value}" for key, value in bench.extra_info.items())
            terminalreporter.write_line(f"{bench.name}: {found}")
