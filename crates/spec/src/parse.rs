//! Reading a spec: YAML, or JSON, which is YAML.

use std::collections::BTreeSet;

use crate::{
    Fault, Faults, Spec, check,
    fault::{Found, SOUGHT},
    foreign, normalise,
    structure::{self, Origin, StandIn},
    tree::{self, Place, Places},
};

/// The most bytes a spec may have. A thousand services take about half of it.
pub const SIZE_LIMIT: usize = 1024 * 1024;

/// A spec's text: UTF-8, and not too large.
pub fn text(bytes: &[u8]) -> Result<&str, Faults> {
    if bytes.len() > SIZE_LIMIT {
        let message = format!("a spec has at most {SIZE_LIMIT} bytes (1 MiB), and this one has more");
        return Err(fault(Place::START, message));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(fault(Place::START, "the file is UTF-16; save it as UTF-8".to_owned()));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let (before, rest) = bytes.split_at(error.valid_up_to());
        let before = String::from_utf8_lossy(before);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let place = Place { line: number(line), column: number(column) };
        let byte = rest.first().copied().unwrap_or_default();
        fault(place, format!("the byte 0x{byte:02x} isn't UTF-8; save the file as UTF-8"))
    })
}

/// Reads the bytes of a spec, as [`parse`] does its text.
pub fn parse_bytes(bytes: &[u8], name: Option<&str>) -> Result<Spec, Faults> {
    parse(text(bytes)?, name)
}

/// Reads a spec and fills in what it leaves to us. `name` is what the spec must be called, where that
/// is known: its object's name. All faults are told at once: what isn't YAML, what isn't the language, and what
/// the rest means wrongly.
pub fn parse(text: &str, name: Option<&str>) -> Result<Spec, Faults> {
    read(text, name, Origin::File)
}

/// Reads a spec that came as JSON inside a start's input, as [`parse`] does one that is a file. Step Functions has
/// read its numbers, and may have changed how they were written: where text stands, a decimal is a fault.
pub fn parse_given(given: &serde_json::Value, name: Option<&str>) -> Result<Spec, Faults> {
    read(&given.to_string(), name, Origin::Input)
}

fn read(text: &str, name: Option<&str>, origin: Origin) -> Result<Spec, Faults> {
    self::text(text.as_bytes())?;
    let tree::Read { root, mut found, whole } = tree::read(text);
    let Some(root) = root else {
        if found.is_empty() {
            let message = "nothing is written here; a spec begins with `apiVersion: plinth/v1` and `name: …`";
            return Err(fault(Place::START, message.to_owned()));
        }
        return Err(Faults::told(found));
    };
    if let Some(file) = foreign::file(&root) {
        found.push(Found { place: root.place, path: Vec::new(), message: file.message });
        if !file.near {
            return Err(Faults::told(found));
        }
    }
    let less = structure::form(&root, whole, StandIn::Less, origin);
    if !whole || less.found.len() >= SOUGHT {
        // What isn't read to its end may yet have been right, and what isn't read at all is not missing.
        let open = found.last().filter(|_| !whole).map(|found| found.path.clone());
        let is_open = |path: &[String]| open.as_ref().is_some_and(|open| open.starts_with(path));
        found.extend(less.found.into_iter().filter(|found| !is_open(&found.path)));
        return Err(Faults::told(found));
    }
    found.extend(less.found);
    let more = (!less.broken.is_empty()).then(|| structure::form(&root, whole, StandIn::More, origin).value);
    let places = Places { root: Some(root), meant: less.meant };
    let (spec, mut meant) = meaning(less.value, name, &places);
    if let Some(more) = more {
        meant = in_both(meant, &meaning(more, name, &places).1, &less.broken);
    }
    found.extend(meant);
    match spec {
        Some(spec) if found.is_empty() => Ok(spec),
        _ if found.is_empty() => Err(fault(Place::START, "this can't be read as a spec".to_owned())),
        _ => Err(Faults::told(found)),
    }
}

/// What a spec means, and what is wrong with that.
fn meaning(value: serde_json::Value, name: Option<&str>, places: &Places) -> (Option<Spec>, Vec<Found>) {
    let Ok(mut spec) = serde_json::from_value::<Spec>(value) else { return (None, Vec::new()) };
    normalise::normalise(&mut spec);
    let found = check::faults(&spec, name, places);
    (Some(spec), found)
}

/// The faults that don't depend on what stands in for what is broken.
fn in_both(found: Vec<Found>, others: &[Found], broken: &BTreeSet<Vec<String>>) -> Vec<Found> {
    let others: BTreeSet<&Found> = others.iter().collect();
    let stands_in = |path: &[String]| (0..=path.len()).any(|end| broken.contains(&path[..end]));
    found.into_iter().filter(|found| others.contains(found) && !stands_in(&found.path)).collect()
}

/// A fault that only the surroundings of a spec show, with its place in the text.
pub fn fault_at(text: &str, path: &str, message: String) -> Fault {
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    let places = Places { root: tree::read(text).root, ..Places::default() };
    Found { place: places.of(&path), path, message }.into()
}

fn fault(place: Place, message: String) -> Faults {
    Faults::told(vec![Found { place, path: Vec::new(), message }])
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod values;
#[cfg(test)]
mod words;
