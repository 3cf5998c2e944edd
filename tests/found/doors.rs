//! Who comes in, and by which name.
