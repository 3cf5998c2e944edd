//! What putting Plinth to use found, each case as the test that failed before: `tests/found/README.md` has the list.

mod attacks;
mod back;
mod data;
mod doors;
mod traffic;
mod values;
mod walks;
