//! Deployers: who may push images to the environment's repositories. One with OIDC is a role, any other a
//! user.

use aws_sdk_iam::Client;
use spec::Oidc;
use step::{Context, Doing, Error, Result, side_by_side};

use crate::{ABSENT, Asked, policy};

/// The longest name of a role, and of a user.
const LIMIT: usize = 64;

pub(crate) fn address(key: &str) -> String {
    format!("deployers.{key}")
}

pub(crate) fn name(context: &Context, key: &str) -> String {
    let explicit = context.spec.deployers.get(key).and_then(|deployer| deployer.name.as_ref());
    context.name(explicit, &format!("{key}-deployer"), LIMIT)
}

/// The deployers that are users.
pub(crate) fn users(context: &Context) -> impl Iterator<Item = &String> {
    let deployers = context.spec.deployers.iter();
    deployers.filter(|(_, deployer)| deployer.oidc.is_none()).map(|(key, _)| key)
}

/// The deployers that are roles.
fn federated(context: &Context) -> impl Iterator<Item = (&String, &Oidc)> {
    context.spec.deployers.iter().filter_map(|(key, deployer)| Some((key, deployer.oidc.as_ref()?)))
}

pub(crate) fn role_names(context: &Context) -> impl Iterator<Item = String> {
    federated(context).map(|(key, _)| name(context, key))
}

pub(crate) fn roles(context: &Context) -> Result<Vec<Asked>> {
    let asked = |(key, oidc): (&String, &Oidc)| {
        Ok(Asked {
            address: address(key),
            name: name(context, key),
            trust: policy::federated(&provider(context, oidc), oidc),
            allow: Some(policy::push(context)?),
            policies: Vec::new(),
        })
    };
    federated(context).map(asked).collect()
}

/// The ARN that the account knows an issuer by.
fn provider(context: &Context, oidc: &Oidc) -> String {
    format!("arn:{}:iam::{}:oidc-provider/{}", context.partition(), context.run.account, oidc.issuer)
}

/// Refuses a spec whose issuers the account doesn't know, or not for whom their tokens are: no token would be
/// believed.
pub(crate) async fn issuers_known(iam: &Client, context: &Context) -> Result<()> {
    side_by_side(federated(context).map(|(key, oidc)| issuer_known(iam, context, key, oidc))).await?;
    Ok(())
}

/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html>
async fn issuer_known(iam: &Client, context: &Context, key: &str, oidc: &Oidc) -> Result<()> {
    let (address, arn) = (address(key), provider(context, oidc));
    let Oidc { issuer, audience, .. } = oidc;
    let known = iam.get_open_id_connect_provider().open_id_connect_provider_arn(&arn).send().await;
    let known = known.unless_absent(&ABSENT, || format!("reading IAM identity provider ({arn})"))?;
    let Some(known) = known else {
        return Err(Error::InvalidSpec(format!(
            "{address}.oidc.issuer: account {} doesn't know {issuer}: aws iam \
             create-open-id-connect-provider --url https://{issuer} --client-id-list {audience}",
            context.run.account
        )));
    };
    if known.client_id_list().contains(audience) {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{address}.oidc.audience: account {} takes no tokens of {issuer} for {audience}: aws iam \
         add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {arn} \
         --client-id {audience}",
        context.run.account
    )))
}
