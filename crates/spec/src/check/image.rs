//! Container images, as Docker reads their names.

use super::Check;
use crate::{Part, Reference, Section, Text};

/// What stands for the URI of a repository of the environment.
const REPOSITORY: &str = "000000000000.dkr.ecr.us-east-1.amazonaws.com/repository";

pub(super) fn check(check: &mut Check<'_>) {
    let spec = check.spec;
    for (key, service) in &spec.services {
        if let crate::Image::Written(text) = &service.image {
            image(check, &["services", key, "image"], text);
        }
        for (name, sidecar) in &service.sidecars {
            image(check, &["services", key, "sidecars", name, "image"], &sidecar.image);
        }
    }
    for (key, job) in &spec.jobs {
        image(check, &["jobs", key, "image"], &job.image);
    }
    for (key, function) in &spec.functions {
        let Some(text) = &function.image else { continue };
        let path = ["functions", key, "image"];
        image(check, &path, text);
        if !is_ecr(text) {
            check.fault(&path, "Lambda takes images from ECR alone; write one such as ${repositories.app}:1");
        }
    }
}

fn image(check: &mut Check<'_>, path: &[&str], text: &Text) {
    // What a reference means, and whether it may stand here, is told where references are.
    let written = rendered(text);
    if let Some(Part::Reference(reference)) = text.parts.first()
        && is_repository(reference)
        && written == REPOSITORY
    {
        check.fault(path, format!("say which image of the repository: ${{{reference}}}:latest, or a digest"));
        return;
    }
    if let Err(wrong) = parse(&written) {
        check.fault(path, format!("\"{text}\" is no image: {wrong}; write one such as nginx:1.29"));
    }
}

fn is_repository(reference: &Reference) -> bool {
    reference.section == Section::Repositories && reference.attribute.is_empty()
}

fn rendered(text: &Text) -> String {
    let part = |part: &Part| match part {
        Part::Literal(literal) => literal.clone(),
        Part::Reference(reference) if is_repository(reference) => REPOSITORY.to_owned(),
        Part::Reference(reference) if reference.section == Section::Account => "000000000000".to_owned(),
        Part::Reference(_) => "x".to_owned(),
    };
    text.parts.iter().map(part).collect()
}

/// The registry that an image comes from.
pub(super) fn registry(text: &Text) -> String {
    let written = rendered(text);
    let first = written.split_once('/').map(|(first, _)| first);
    let named = first.filter(|first| first.contains(['.', ':']) || *first == "localhost");
    named.unwrap_or("docker.io").to_owned()
}

/// Whether an image comes from a private registry of ECR.
pub(super) fn is_ecr(text: &Text) -> bool {
    registry(text).contains(".dkr.ecr.")
}

/// Docker's own grammar: a registry, names between slashes, a tag, a digest.
/// Source: <https://pkg.go.dev/github.com/distribution/reference>
fn parse(image: &str) -> Result<(), String> {
    if image.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Some(c) = image.chars().find(|c| !c.is_ascii() || c.is_ascii_control() || *c == ' ') {
        return Err(format!("{c:?} can't stand in it"));
    }
    let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    if let Some(digest) = digest
        && !digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
    {
        return Err(format!("\"{digest}\" is no digest, which is sha256: and 64 hex digits"));
    }
    let after = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[after..].split_once(':') {
        Some((last, tag)) => (&rest[..after + last.len()], Some(tag)),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let begins = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if !begins || tag.len() > 128 || !tag.chars().all(plain) {
            return Err(format!(
                "\"{tag}\" is no tag, which has at most 128 letters, digits and _ . -, and begins with none of . -"
            ));
        }
    }
    if name.len() > 255 {
        return Err("its name has more than 255 characters".to_owned());
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost") {
        let registry = parts.remove(0);
        if !is_host(registry) {
            return Err(format!("\"{registry}\" is no registry"));
        }
    }
    match parts.into_iter().find(|part| !is_part(part)) {
        Some(part) if part.chars().any(|c| c.is_ascii_uppercase()) => {
            Err(format!("\"{part}\" has capital letters, which only a tag may have"))
        }
        Some(part) => Err(format!("\"{part}\" can't be a part of its name")),
        None => Ok(()),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        !label.is_empty() && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Small letters and digits, between which one `.`, one or two `_`, or any number of `-` may stand.
fn is_part(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(plain).filter(|between| !between.is_empty());
    let fit = |between: &str| matches!(between, "." | "_" | "__") || between.chars().all(|c| c == '-');
    text.starts_with(plain) && text.ends_with(plain) && separators.all(fit)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("nginx")]
    #[case("nginx:1.29")]
    #[case("library/nginx:1.29-alpine")]
    #[case("localhost:5000/a/b__c.d--e:v1")]
    #[case("ghcr.io/acme/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")]
    #[case("quay.io/acme/app:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")]
    fn what_docker_takes_is_taken(#[case] image: &str) {
        assert_eq!(parse(image), Ok(()));
    }

    #[rstest]
    #[case("")]
    #[case("ngi nx:1 29")]
    #[case("nginx:")]
    #[case("nginx:-1")]
    #[case("Nginx")]
    #[case("acme//app")]
    #[case("/app")]
    #[case("app/")]
    #[case("https://nginx")]
    #[case("app___b")]
    #[case("app@sha256:12")]
    #[case("äpp")]
    fn what_docker_refuses_is_refused(#[case] image: &str) {
        assert!(parse(image).is_err());
    }

    #[rstest]
    #[case("nginx:1", "docker.io")]
    #[case("acme/app:1", "docker.io")]
    #[case("ghcr.io/acme/app", "ghcr.io")]
    #[case("${repositories.app}:1", "000000000000.dkr.ecr.us-east-1.amazonaws.com")]
    fn an_image_has_its_registry(#[case] image: &str, #[case] expected: &str) {
        assert_eq!(registry(&image.parse().expect("a text")), expected);
    }
}
