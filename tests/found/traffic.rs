//! Nothing that serves is cut before what takes its place serves.
