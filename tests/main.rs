//! The tests that need AWS on this machine: one binary, since a server and what is deployed to it cost half a minute.

mod aws;
mod clock;
mod elsewhere;
mod faults;
mod follow;
mod found;
mod life;
mod order;
mod roles;
mod scenarios;
mod seeds;
