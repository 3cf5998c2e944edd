//! Why there are no AWS credentials, and how to get them.

use std::{env, fs, path::PathBuf};

use aws_config::SdkConfig;
use aws_sdk_s3::config::ProvideCredentials;
use aws_sdk_sts::error::ProvideErrorMetadata;
use step::{Error, Result};

/// Refuses to go on without credentials, and says what to do.
pub(crate) async fn check(aws: &SdkConfig) -> Result<()> {
    let provided = match aws.credentials_provider() {
        Some(provider) => provider.provide_credentials().await.map(|_| ()).map_err(|error| error.to_string()),
        None => Err("none are set".to_owned()),
    };
    provided
        .map_err(|cause| Error::Failed(missing(env::var("AWS_PROFILE").ok().as_deref(), &files(), &cause)))
}

/// A file that profiles are written in.
struct Profiles {
    /// How a person calls it.
    file: &'static str,
    text: String,
}

/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html>
fn files() -> [Profiles; 2] {
    let of = |file: &'static str, variable: &str| {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let path =
            env::var_os(variable).map_or_else(|| home.join(file.trim_start_matches("~/")), PathBuf::from);
        Profiles { file, text: fs::read_to_string(path).unwrap_or_default() }
    };
    [of("~/.aws/config", "AWS_CONFIG_FILE"), of("~/.aws/credentials", "AWS_SHARED_CREDENTIALS_FILE")]
}

impl Profiles {
    /// The lines of a profile; none if it isn't in the file.
    fn of(&self, profile: &str) -> Option<String> {
        let heads = [format!("[{profile}]"), format!("[profile {profile}]")];
        let mut lines =
            self.text.lines().map(str::trim).skip_while(|line| !heads.iter().any(|head| head == line));
        lines.next()?;
        Some(lines.take_while(|line| !line.starts_with('[')).collect::<Vec<_>>().join("\n"))
    }
}

fn missing(profile: Option<&str>, files: &[Profiles], cause: &str) -> String {
    let found: Vec<String> = files.iter().filter_map(|file| file.of(profile.unwrap_or("default"))).collect();
    let sso = found.iter().any(|lines| lines.contains("sso_"));
    match profile {
        Some(profile) if found.is_empty() => {
            let names: Vec<&str> = files.iter().map(|file| file.file).collect();
            format!(
                "no AWS credentials: AWS_PROFILE is {profile:?}, which is neither in {}",
                names.join(" nor in ")
            )
        }
        Some(profile) if sso => {
            format!(
                "no AWS credentials: run: aws sso login --profile {profile} (AWS_PROFILE is {profile:?}: {cause})"
            )
        }
        None if sso => format!("no AWS credentials: run: aws sso login ({cause})"),
        Some(profile) => format!("no AWS credentials: AWS_PROFILE is {profile:?}: {cause}"),
        None => format!(
            "no AWS credentials: set AWS_PROFILE to one of your profiles, or run: aws sso login ({cause})"
        ),
    }
}

/// What stands in the way of the first call: credentials that are over, or no way to AWS.
pub(crate) fn refused<E>(error: &aws_sdk_sts::error::SdkError<E>, endpoint: Option<&str>) -> Option<Error>
where
    E: ProvideErrorMetadata,
{
    if error.code().is_some_and(|code| ["ExpiredToken", "ExpiredTokenException"].contains(&code)) {
        return Some(Error::Failed(
            "the AWS credentials have expired: run: aws sso login, or get new ones".to_owned(),
        ));
    }
    let aws_sdk_sts::error::SdkError::DispatchFailure(failure) = error else { return None };
    let mut cause = failure.as_connector_error().map(|error| error as &dyn std::error::Error)?;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let at = endpoint.map_or_else(
        || "look at your network and its proxy".to_owned(),
        |endpoint| format!("AWS_ENDPOINT_URL is {endpoint}; is it running?"),
    );
    Some(Error::Failed(format!("reaching AWS: {cause}: {at}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles() -> [Profiles; 2] {
        let config = "[default]\nregion = eu-west-1\n[profile work]\nsso_session = work\n[profile keys]\n";
        let credentials = "[keys]\naws_access_key_id = x\n";
        [
            Profiles { file: "~/.aws/config", text: config.to_owned() },
            Profiles { file: "~/.aws/credentials", text: credentials.to_owned() },
        ]
    }

    #[test]
    fn each_reason_has_its_remedy() {
        let missing = |profile| missing(profile, &profiles(), "cause");
        assert_eq!(
            missing(Some("nope")),
            "no AWS credentials: AWS_PROFILE is \"nope\", which is neither in ~/.aws/config nor in ~/.aws/credentials"
        );
        assert!(missing(Some("work")).contains("run: aws sso login --profile work"));
        assert!(missing(Some("keys")).ends_with("AWS_PROFILE is \"keys\": cause"));
        assert!(missing(None).contains("set AWS_PROFILE to one of your profiles, or run: aws sso login"));
    }
}
