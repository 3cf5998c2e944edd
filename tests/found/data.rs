//! Data is lost only when the spec says so.
