//! What keeps data: what it was called before.

use std::collections::BTreeMap;

use super::Check;

pub(super) fn check(check: &mut Check<'_>) {
    let spec = check.spec;
    let of = |key: &'_ String, formerly: &'_ Option<String>| (key.clone(), formerly.clone());
    let sections: [(&str, BTreeMap<String, Option<String>>); 5] = [
        ("secrets", spec.secrets.iter().map(|(key, found)| of(key, &found.formerly)).collect()),
        ("repositories", spec.repositories.iter().map(|(key, found)| of(key, &found.formerly)).collect()),
        ("buckets", spec.buckets.iter().map(|(key, found)| of(key, &found.formerly)).collect()),
        ("fileSystems", spec.file_systems.iter().map(|(key, found)| of(key, &found.formerly)).collect()),
        ("databases", spec.databases.iter().map(|(key, found)| of(key, &found.formerly)).collect()),
    ];
    for (section, all) in sections {
        formerly(check, section, &all);
    }
}

fn formerly(check: &mut Check<'_>, section: &str, all: &BTreeMap<String, Option<String>>) {
    let mut seen: BTreeMap<&String, &String> = BTreeMap::new();
    for (key, before) in all.iter().filter_map(|(key, before)| Some((key, before.as_ref()?))) {
        let path = [section, key, "formerly"];
        if all.contains_key(before) {
            check.fault(&path, format!("{section}.{before} is in the spec itself; leave one of the two out"));
        }
        if let Some(other) = seen.insert(before, key) {
            check.fault(
                &path,
                format!("{section}.{other} was {section}.{before} already; leave one of the two out"),
            );
        }
        if check.spec.allow_data_loss.iter().any(|address| *address == format!("{section}.{before}")) {
            check.fault(
                &path,
                format!(
                    "`allowDataLoss` gives {section}.{before} up, and this keeps it; leave one of the two out"
                ),
            );
        }
    }
}
