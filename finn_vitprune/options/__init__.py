"""What a user may say to the commands: one field an option, from which command line, files and Python follow."""
