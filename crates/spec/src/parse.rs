//! Reading a spec: YAML, or JSON, which is YAML.

use crate::{Fault, Faults, Spec};

/// The most bytes a spec may have. A thousand services take about half of it.
pub const SIZE_LIMIT: usize = 1024 * 1024;

/// Reads a spec. `name` is what the spec must be called, where that is known: its object's name.
pub fn parse(text: &str, name: Option<&str>) -> Result<Spec, Faults> {
    if text.len() > SIZE_LIMIT {
        let message = format!("a spec has at most {SIZE_LIMIT} bytes, and this one has {}", text.len());
        return Err(fault("spec", 1, 1, message));
    }
    let spec: Spec = serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
        let place = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        fault("spec", place(location.line()), place(location.column()), error.without_snippet().to_string())
    })?;
    match name {
        Some(name) if name != spec.name => {
            let message =
                format!("the object is environments/{name}, so the name must be {name}, not {}", spec.name);
            Err(fault("name", 1, 1, message))
        }
        _ => Ok(spec),
    }
}

fn fault(path: &str, line: u32, column: u32, message: String) -> Faults {
    Faults(vec![Fault { path: path.to_owned(), line, column, message }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, name: Option<&str>) -> Fault {
        parse(text, name).expect_err("a fault").0.remove(0)
    }

    #[test]
    fn an_unknown_field_is_refused_at_its_place() {
        let fault = refused("apiVersion: plinth/v1\nname: demo\nclutser: {}\n", None);
        assert_eq!((fault.line, fault.column), (3, 1), "{fault:?}");
        assert!(fault.message.contains("clutser"), "{fault:?}");
    }

    #[test]
    fn a_file_that_is_not_yaml_is_refused_at_its_place() {
        let fault = refused("apiVersion: plinth/v1\nname: [\n", None);
        assert!(fault.line >= 2, "{fault:?}");
    }

    #[test]
    fn a_spec_by_another_name_than_its_object_is_refused() {
        let fault = refused("{ apiVersion: plinth/v1, name: other }", Some("demo"));
        assert_eq!(fault.path, "name");
    }

    #[test]
    fn a_spec_of_two_megabytes_is_refused() {
        let fault = refused(&" ".repeat(2 * SIZE_LIMIT), None);
        assert!(fault.message.contains("1048576"), "{fault:?}");
    }
}
