"""`python -m headwater.cli`: the headwater command, by an interpreter of one's choice."""

from headwater.cli.app import main

main()
