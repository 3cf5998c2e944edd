//! The way back: from any state to any older file.
