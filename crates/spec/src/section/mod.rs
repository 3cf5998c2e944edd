//! A file for each section of the spec, named as the step that owns it.

pub mod api;
pub mod cluster;
pub mod load_balancer;
pub mod network;
pub mod repository;
pub mod role;
pub mod secret;
pub mod service;
