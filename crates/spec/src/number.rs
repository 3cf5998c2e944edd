//! Numbers as a spec writes them.

use crate::tree::Scalar;

/// What a scalar is where a whole number is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// It is one.
    Is(i64),
    /// It is one that no field takes.
    Huge,
    /// It can be read as one, but not surely: what to write.
    Write(String),
    /// It is none.
    No,
}

/// A whole number is written in decimal digits. What others read as octal, hexadecimal or with an exponent has to be
/// written so that everybody reads the same.
pub(crate) fn whole(scalar: &Scalar) -> Whole {
    let text = scalar.text.as_str();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let decimal = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let written = |number: &str| Whole::Write(format!("{sign}{number}"));
    if !scalar.plain {
        return if decimal(digits) { written(&format!("{digits} without quotes")) } else { Whole::No };
    }
    if decimal(digits) {
        if digits.len() > 1 && digits.starts_with('0') {
            let stripped = digits.trim_start_matches('0');
            return written(if stripped.is_empty() { "0" } else { stripped });
        }
        return text.parse().map_or(Whole::Huge, Whole::Is);
    }
    let lower = digits.to_lowercase();
    let based = |prefix: &str, base| i64::from_str_radix(lower.strip_prefix(prefix)?, base).ok();
    if let Some(number) = based("0x", 16).or_else(|| based("0o", 8)).or_else(|| based("0b", 2)) {
        return written(&number.to_string());
    }
    let bare = digits.replace(['_', ','], "");
    if bare != digits && decimal(&bare) && digits.starts_with(|digit: char| digit.is_ascii_digit()) {
        return written(&bare);
    }
    match real(scalar) {
        #[allow(clippy::float_cmp, reason = "a number is whole if nothing is left of it")]
        Some(number) if number == number.trunc() && number.abs() < 1e15 => {
            Whole::Write(format!("{number:.0}"))
        }
        _ => Whole::No,
    }
}

/// A number, in YAML's own form.
pub(crate) fn real(scalar: &Scalar) -> Option<f64> {
    let text = scalar.text.as_str();
    let form = |letter: char| letter.is_ascii_digit() || "+-.eE".contains(letter);
    let begins = text.trim_start_matches(['+', '-', '.']).starts_with(|letter: char| letter.is_ascii_digit());
    (scalar.plain && begins && text.chars().all(form)).then(|| text.parse().ok())?
}

/// Whether a number of JSON may have been written otherwise: whole ones of up to 15 digits are exact.
pub(crate) fn may_differ(scalar: &Scalar) -> bool {
    real(scalar).is_some() && (scalar.text.contains(['.', 'e', 'E']) || scalar.text.len() > 15)
}

/// What to write in place of a size with a unit, as other tools take them.
pub(crate) fn with_unit(field: &str, text: &str) -> Option<String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok().filter(|number| *number < 1e9)?;
    let unit = unit.trim().to_lowercase();
    match field {
        "cpu" => {
            let units = match unit.as_str() {
                "" if number <= 16.0 => number * 1024.0,
                "m" => number * 1.024,
                "vcpu" => number * 1024.0,
                _ => return None,
            };
            Some(format!("write {}: 1024 units are one vCPU", nearest_size(units)))
        }
        "memory" | "memoryReservation" => {
            let factor = match unit.as_str() {
                "m" | "mb" | "mi" | "mib" => 1.0,
                "g" | "gb" | "gi" | "gib" => 1024.0,
                _ => return None,
            };
            Some(format!("write {:.0}: memory is a number of MiB", number * factor))
        }
        "storage" | "disk" if ["g", "gb", "gi", "gib"].contains(&unit.as_str()) => {
            Some(format!("write {number:.0}: storage is a number of GiB"))
        }
        _ if unit == "%" => Some(format!("write {number}, without the %")),
        _ => None,
    }
}

/// The size that Fargate has for so many CPU units.
fn nearest_size(units: f64) -> u32 {
    let sizes = [256, 512, 1024, 2048, 4096, 8192, 16384];
    sizes.into_iter().find(|size| f64::from(*size) >= units - 20.0).unwrap_or(16384)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.to_owned(), plain: true }
    }

    #[rstest]
    #[case("8080", Whole::Is(8080))]
    #[case("-1", Whole::Is(-1))]
    #[case("0", Whole::Is(0))]
    #[case("99999999999999999999", Whole::Huge)]
    #[case("017", Whole::Write("17".to_owned()))]
    #[case("00", Whole::Write("0".to_owned()))]
    #[case("1e3", Whole::Write("1000".to_owned()))]
    #[case("2.0", Whole::Write("2".to_owned()))]
    #[case("0x1F", Whole::Write("31".to_owned()))]
    #[case("0o17", Whole::Write("15".to_owned()))]
    #[case("1_000", Whole::Write("1000".to_owned()))]
    #[case("2.5", Whole::No)]
    #[case("many", Whole::No)]
    #[case("12:30", Whole::No)]
    #[case("-", Whole::No)]
    fn a_whole_number_is_written_in_decimal_digits(#[case] text: &str, #[case] read: Whole) {
        assert_eq!(whole(&plain(text)), read);
    }

    #[rstest]
    #[case("memory", "512m", Some("write 512: memory is a number of MiB"))]
    #[case("memory", "2GB", Some("write 2048: memory is a number of MiB"))]
    #[case("memory", "1.5Gi", Some("write 1536: memory is a number of MiB"))]
    #[case("cpu", "0.25", Some("write 256: 1024 units are one vCPU"))]
    #[case("cpu", "500m", Some("write 512: 1024 units are one vCPU"))]
    #[case("cpu", "2vCPU", Some("write 2048: 1024 units are one vCPU"))]
    #[case("maximum", "200%", Some("write 200, without the %"))]
    #[case("memory", "a lot", None)]
    fn a_size_with_a_unit_is_told_without(
        #[case] field: &str,
        #[case] text: &str,
        #[case] told: Option<&str>,
    ) {
        assert_eq!(with_unit(field, text).as_deref(), told);
    }
}
