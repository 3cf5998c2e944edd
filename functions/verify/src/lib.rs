//! The step.
