"""Target ``c``: a Program as a file of C99, compiled by the system's compiler and run in a process of its own."""
