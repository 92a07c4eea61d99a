"""What people do with several runs of a scenario: each study is a file, and reads logs only."""
