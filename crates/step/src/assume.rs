//! The role of another account, in which an environment may be built.

use aws_config::SdkConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_sts::{Client, error::ProvideErrorMetadata, primitives::DateTime, types};

use crate::{Doing, Error, Result};

/// The configuration with a role's credentials in place of the function's own. `external_id` is what the role's trust
/// policy wants to hear.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_common-scenarios_third-party.html>
pub async fn assume(
    config: &SdkConfig,
    sts: &Client,
    role: &str,
    external_id: &str,
    environment: &str,
) -> Result<SdkConfig> {
    let assumed = sts
        .assume_role()
        .role_arn(role)
        .external_id(external_id)
        .role_session_name(format!("plinth-{environment}"))
        .send()
        .await;
    if assumed.as_ref().is_err_and(|error| error.code() == Some("AccessDenied")) {
        return Err(Error::Failed(format!(
            "assuming {role}: access is denied: the control plane's parameter BuildRoles must name it, and its trust \
             policy this account and the external id {external_id}, as infra/role.yaml has it; if its account is \
             gone, delete status/{environment}.json: what stands there is left alone"
        )));
    }
    let answer = assumed.doing(|| format!("assuming {role}"))?;
    let credentials = answer.credentials.map(credentials);
    let credentials =
        credentials.ok_or_else(|| Error::Throttled(format!("assuming {role}: STS gave nothing")))?;
    Ok(config.to_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build())
}

fn credentials(given: types::Credentials) -> Credentials {
    let expires = DateTime::try_into(given.expiration).ok();
    let (key, secret) = (given.access_key_id, given.secret_access_key);
    Credentials::new(key, secret, Some(given.session_token), expires, "plinth")
}
