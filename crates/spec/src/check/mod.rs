//! Faults in what a spec means, as far as they can be found without asking AWS. A file for each kind;
//! in each a function for each rule.

mod api;
mod cluster;
mod database;
mod dns;
mod environment;
mod expires;
mod function;
mod image;
#[cfg(test)]
mod limits;
mod load_balancer;
mod loss;
mod name;
mod network;
mod reference;
mod role;
mod schedule;
mod service;
mod storage;
mod task;
mod way_out;

use crate::{
    Spec,
    structure::{Found, instead},
    tree::Places,
};

/// Collects what is wrong.
struct Check<'a> {
    spec: &'a Spec,
    places: &'a Places,
    found: Vec<Found>,
}

impl Check<'_> {
    /// What stands at this path is wrong.
    fn fault(&mut self, path: &[&str], message: impl Into<String>) {
        let path: Vec<String> = path.iter().map(|&step| step.to_owned()).collect();
        self.found.push(Found { place: self.places.of(&path), path, message: message.into() });
    }

    /// The name of what stands at this path is wrong.
    fn key_fault(&mut self, path: &[&str], message: impl Into<String>) {
        let path: Vec<String> = path.iter().map(|&step| step.to_owned()).collect();
        self.found.push(Found { place: self.places.of_key(&path), path, message: message.into() });
    }
}

/// Everything that is wrong with what a spec means. `name` is its object's name, where that is known.
pub(crate) fn faults(spec: &Spec, name: Option<&str>, places: &Places) -> Vec<Found> {
    let mut check = Check { spec, places, found: Vec::new() };
    object_name(&mut check, name);
    environment::check(&mut check);
    schedule::check(&mut check);
    expires::check(&mut check);
    name::check(&mut check);
    network::check(&mut check);
    loss::check(&mut check);
    role::check(&mut check);
    cluster::check(&mut check);
    storage::check(&mut check);
    database::check(&mut check);
    dns::check(&mut check);
    load_balancer::check(&mut check);
    image::check(&mut check);
    way_out::check(&mut check);
    function::check(&mut check);
    service::check(&mut check);
    api::check(&mut check);
    reference::check(&mut check);
    check.found
}

fn object_name(check: &mut Check<'_>, name: Option<&str>) {
    if let Some(name) = name
        && name != check.spec.name
    {
        let found = &check.spec.name;
        check.fault(
            &["name"],
            format!("the object is environments/{name}.yaml, so the name must be {name}, not {found}"),
        );
    }
}

/// What was meant, where that is near; there are too many to tell all.
fn nearest(written: &str, known: &[&str], example: &str) -> String {
    let meant = instead(written, known);
    if meant.starts_with("did you mean") { meant } else { format!("write one such as {example}") }
}
