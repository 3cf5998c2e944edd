//! What an instance does when it starts for the first time.

use std::{collections::BTreeMap, fmt::Write};

/// The script: says which cluster the instance joins, and mounts file systems, by path.
///
/// The ECS agent's unit starts after cloud-init's last, which runs this script: it takes no task before all
/// is mounted. When the instance restarts, the script isn't run again; then the agent's unit waits for the
/// mounts by itself. Tasks on awsvpc don't reach the instance's role either; for those in bridge mode the
/// hop limit of the template sees to it.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bootstrap_container_instance.html>
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html>
/// Source: <https://docs.aws.amazon.com/efs/latest/ug/mount-fs-auto-mount-update-fstab.html>
pub(crate) fn user_data(cluster: &str, mounts: &BTreeMap<String, String>) -> String {
    let mut script = format!(
        "#!/bin/bash\n\
         cat >> /etc/ecs/ecs.config <<'END'\n\
         ECS_CLUSTER={cluster}\n\
         ECS_AWSVPC_BLOCK_IMDS=true\n\
         END\n"
    );
    if mounts.is_empty() {
        return script;
    }
    script.push_str("until dnf install -y amazon-efs-utils; do sleep 5; done\n");
    script.push_str("mkdir -p /etc/systemd/system/ecs.service.d\n");
    script.push_str("cat > /etc/systemd/system/ecs.service.d/mounts.conf <<'END'\n[Unit]\n");
    for path in mounts.keys() {
        line(&mut script, format_args!("RequiresMountsFor=\"{path}\""));
    }
    script.push_str("END\n");
    script.push_str("cat >> /etc/fstab <<'END'\n");
    for (path, id) in mounts {
        line(&mut script, format_args!("{id}:/ {} efs _netdev,tls 0 0", path.replace(' ', "\\040")));
    }
    script.push_str("END\nsystemctl daemon-reload\n");
    for path in mounts.keys() {
        let path = quoted(path);
        line(&mut script, format_args!("mkdir -p {path}"));
        line(&mut script, format_args!("until mountpoint -q {path} || mount {path}; do sleep 5; done"));
    }
    script
}

fn line(script: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = writeln!(script, "{line}");
}

/// As one word of a shell.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// As EC2 takes it.
/// Source: <https://datatracker.ietf.org/doc/html/rfc4648#section-4>
pub(crate) fn to_base64(text: &str) -> String {
    let mut encoded = String::new();
    for bytes in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0, |bits, index| bits << 8 | u32::from(*bytes.get(index).unwrap_or(&0)));
        for index in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * index) & 63) as usize];
            encoded.push(if index <= bytes.len() { char::from(letter) } else { '=' });
        }
    }
    encoded
}

/// The text again; what was never ours may be no text, and then is told as it stands.
pub(crate) fn from_base64(encoded: &str) -> String {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in encoded.bytes().filter(|letter| *letter != b'=') {
        let Some(value) = (0..64).find(|value: &u8| ALPHABET[usize::from(*value)] == letter) else {
            continue;
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| encoded.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_joins_its_cluster_and_keeps_its_role_from_tasks() {
        assert_eq!(
            user_data("demo", &BTreeMap::new()),
            "#!/bin/bash\n\
             cat >> /etc/ecs/ecs.config <<'END'\n\
             ECS_CLUSTER=demo\n\
             ECS_AWSVPC_BLOCK_IMDS=true\n\
             END\n"
        );
    }

    #[test]
    fn file_systems_are_mounted_before_the_agent_starts_and_after_a_restart() {
        let mounts = [("/mnt/a b", "fs-2"), ("/mnt/data", "fs-1")];
        let mounts = mounts.map(|(path, id)| (path.to_owned(), id.to_owned())).into();
        assert_eq!(
            user_data("demo", &mounts).split_once("=true\nEND\n").expect("the mounts").1,
            "until dnf install -y amazon-efs-utils; do sleep 5; done\n\
             mkdir -p /etc/systemd/system/ecs.service.d\n\
             cat > /etc/systemd/system/ecs.service.d/mounts.conf <<'END'\n\
             [Unit]\n\
             RequiresMountsFor=\"/mnt/a b\"\n\
             RequiresMountsFor=\"/mnt/data\"\n\
             END\n\
             cat >> /etc/fstab <<'END'\n\
             fs-2:/ /mnt/a\\040b efs _netdev,tls 0 0\n\
             fs-1:/ /mnt/data efs _netdev,tls 0 0\n\
             END\n\
             systemctl daemon-reload\n\
             mkdir -p '/mnt/a b'\n\
             until mountpoint -q '/mnt/a b' || mount '/mnt/a b'; do sleep 5; done\n\
             mkdir -p '/mnt/data'\n\
             until mountpoint -q '/mnt/data' || mount '/mnt/data'; do sleep 5; done\n"
        );
    }

    #[test]
    fn base64_is_as_the_rfc_says_and_back() {
        let examples = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let encoded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(examples.map(to_base64), encoded);
        assert_eq!(encoded.map(from_base64), examples);
        assert_eq!(from_base64("/w=="), "/w==");
    }
}
