//! Whole-system tests: the program as people run it, with faults. Everything is in `tests/it`.
