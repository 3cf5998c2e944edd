//! Values and names reach AWS as they were written.
