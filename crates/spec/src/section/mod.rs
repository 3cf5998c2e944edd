//! A file for each section of the spec, named as the step that owns it.

pub mod api;
pub mod bucket;
pub mod certificate;
pub mod check;
pub mod cluster;
pub mod database;
pub mod deployer;
pub mod dns;
pub mod expires;
pub mod file_system;
pub mod function;
pub mod image;
pub mod job;
pub mod key;
pub mod load_balancer;
pub mod network;
pub mod repository;
pub mod role;
pub mod schedule;
pub mod secret;
pub mod service;
