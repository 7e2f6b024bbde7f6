//! Tests of the scheduler and the invoker together; see `tests/it`.
