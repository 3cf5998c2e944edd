//! Reading a spec: YAML, or JSON, which is YAML.

use crate::{
    Fault, Faults, Spec, check, normalise, structure,
    tree::{self, Place},
};

/// The most bytes a spec may have. A thousand services take about half of it.
pub const SIZE_LIMIT: usize = 1024 * 1024;

/// Reads a spec and fills in what it leaves to us. `name` is what the spec must be called, where that
/// is known: its object's name. All faults are told at once, but for those that hide others: what
/// isn't YAML has no fields, and fields of the wrong form no meaning.
pub fn parse(text: &str, name: Option<&str>) -> Result<Spec, Faults> {
    if text.len() > SIZE_LIMIT {
        let message = format!("a spec has at most {SIZE_LIMIT} bytes, and this one has {}", text.len());
        return Err(fault("spec", Place { line: 1, column: 1 }, message));
    }
    let (value, places) = tree::read(text).map_err(|error| {
        let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
        fault("spec", location.into(), error.without_snippet().to_string())
    })?;
    let found = structure::faults(&value, &places);
    if !found.is_empty() {
        return Err(told(found));
    }
    let mut spec: Spec = serde_json::from_value(value)
        .map_err(|error| fault("spec", Place { line: 1, column: 1 }, error.to_string()))?;
    normalise::normalise(&mut spec);
    let found = check::faults(&spec, name, &places);
    if found.is_empty() { Ok(spec) } else { Err(told(found)) }
}

/// A fault that only the surroundings of a spec show, with its place in the text.
pub fn fault_at(text: &str, path: &str, message: String) -> Fault {
    let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
    let place = tree::read(text).map_or(Place { line: 1, column: 1 }, |(_, places)| places.of(&steps));
    Fault { line: place.line, column: place.column, path: path.to_owned(), message }
}

fn fault(path: &str, Place { line, column }: Place, message: String) -> Faults {
    Faults(vec![Fault { line, column, path: path.to_owned(), message }])
}

/// The faults in the order of the file.
fn told(found: Vec<structure::Found>) -> Faults {
    let fault = |structure::Found { path, place, message }: structure::Found| {
        let path = if path.is_empty() { "spec".to_owned() } else { path.join(".") };
        Fault { line: place.line, column: place.column, path, message }
    };
    let mut faults: Vec<Fault> = found.into_iter().map(fault).collect();
    faults.sort();
    faults.dedup();
    Faults(faults)
}

#[cfg(test)]
mod tests;
