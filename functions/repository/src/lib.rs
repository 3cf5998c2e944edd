//! The step `repository`: ECR repositories and their lifecycle policies.
//!
//! Ours is a repository that carries the owner's tags; it has them from `CreateRepository` on. Whether
//! its images may go with it is a tag too, since the spec no longer says it when the repository goes. A repository
//! that holds images isn't dropped unless the spec says that its data may be lost.
//!
//! What encrypts a repository can't be changed: another key is refused, or with `allowDataLoss` had from another
//! repository. Whoever pushes and pulls knows it by its name, which two can't have at a time: so the old one goes first,
//! with its images, and services wait until theirs is pushed again.

use std::collections::BTreeMap;

use aws_sdk_ecr::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        EncryptionConfiguration, EncryptionType, ImageScanningConfiguration, ImageTagMutability, Repository,
        Tag,
    },
};
use serde_json::{Value, json};
use step::{
    Answer, Change, Context, Doing, Error, Field, Operation, RepositoryOutput, Result, UNKNOWN, compare,
    compare_key, loss, missing_tags, side_by_side,
};

/// The tag that says whether a repository is deleted with the images in it.
const FORCE_DELETE: &str = "plinth:force-delete";

/// The longest name of a repository.
const LIMIT: usize = 256;

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let ecr = Client::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&ecr, &context).await,
        Operation::Ensure => ensure(&ecr, &context).await,
        Operation::Prune => prune(&ecr, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    key: String,
    address: String,
    name: String,
    scan_on_push: bool,
    mutability: ImageTagMutability,
    /// The ARN of the key it is encrypted with; none for ECR's own way.
    encryption: Option<String>,
    lifecycle: Option<Value>,
    /// Whether another may take the place of one that another key encrypts.
    replace: bool,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    let encryption = context.key_arn()?;
    let wanted = |(key, repository): (&String, &spec::Repository)| {
        let address = format!("repositories.{key}");
        let mut tags = context.tags(&address);
        tags.insert(FORCE_DELETE.to_owned(), repository.force_delete.to_string());
        Wanted {
            key: key.clone(),
            name: name(context, key, repository),
            scan_on_push: repository.scan_on_push,
            mutability: if repository.mutable {
                ImageTagMutability::Mutable
            } else {
                ImageTagMutability::Immutable
            },
            encryption: encryption.cloned(),
            lifecycle: lifecycle(repository),
            replace: context.may_lose(&address),
            tags,
            address,
        }
    };
    Ok(context.spec.repositories.iter().map(wanted).collect())
}

fn name(context: &Context, key: &str, repository: &spec::Repository) -> String {
    let key = spec::named_by(key, repository.formerly.as_ref());
    context.name(repository.name.as_ref(), key, LIMIT)
}

/// The lifecycle policy. The rule for any image has the last priority, as ECR demands.
/// Source: <https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html>
fn lifecycle(repository: &spec::Repository) -> Option<Value> {
    let days = repository.untagged.as_ref().and_then(|untagged| untagged.expire.whole_days());
    let untagged = days.map(|days| {
        json!({
            "rulePriority": 1,
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": days,
            },
            "action": { "type": "expire" },
        })
    });
    let keep = repository.keep.map(|keep| {
        json!({
            "rulePriority": 2,
            "selection": { "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": keep },
            "action": { "type": "expire" },
        })
    });
    let rules: Vec<_> = untagged.into_iter().chain(keep).collect();
    (!rules.is_empty()).then(|| json!({ "rules": rules }))
}

/// A repository with what AWS tells of it in other calls.
struct Found {
    repository: Repository,
    lifecycle: Option<Value>,
    tags: BTreeMap<String, String>,
}

async fn ensure(ecr: &Client, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let outputs = side_by_side(wanted.iter().map(|wanted| ensure_one(ecr, context, wanted))).await?;
    Answer::new(BTreeMap::from_iter(outputs), Vec::new())
}

async fn ensure_one(ecr: &Client, context: &Context, wanted: &Wanted) -> Result<(String, RepositoryOutput)> {
    let found = match find(ecr, context, &wanted.name).await? {
        None => create(ecr, wanted).await?,
        Some(found) => match misfit(&found, wanted) {
            None => found,
            Some(error) if !wanted.replace => return Err(error),
            Some(_) => {
                delete(ecr, &wanted.name, &wanted.address, true).await?;
                create(ecr, wanted).await?
            }
        },
    };
    update(ecr, &found, wanted).await?;
    Ok((wanted.key.clone(), output(wanted, Some(&found))))
}

async fn plan(ecr: &Client, context: &Context) -> Result<Answer> {
    let (mut changes, refused) = delete_dropped(ecr, context).await?;
    let wanted = wanted(context)?;
    let found = side_by_side(wanted.iter().map(|wanted| find(ecr, context, &wanted.name))).await?;
    let mut outputs = BTreeMap::new();
    for (wanted, found) in wanted.iter().zip(&found) {
        outputs.insert(wanted.key.clone(), output(wanted, found.as_ref()));
        let create = || Change::create(&wanted.address).with("name", &wanted.name);
        match found.as_ref().map(|found| (found, misfit(found, wanted))) {
            None => changes.push(create()),
            Some((found, None)) => {
                changes.extend(Change::update(&wanted.address, difference(found, wanted)));
            }
            Some((_, Some(error))) if !wanted.replace => return Err(error),
            Some(_) => {
                changes.extend([Change::delete(&wanted.address).with("name", &wanted.name), create()]);
            }
        }
    }
    Ok(Answer::new(outputs, changes)?.refusing(refused))
}

async fn prune(ecr: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(ecr, context).await?.0))
}

/// Deletes our repositories that the spec doesn't mention; in a plan only names them, and says why they can't go.
async fn delete_dropped(ecr: &Client, context: &Context) -> Result<(Vec<Change>, Vec<String>)> {
    let repositories = context.spec.repositories.iter();
    let kept: Vec<_> = repositories.map(|(key, repository)| name(context, key, repository)).collect();
    let (mut changes, mut refused) = (Vec::new(), Vec::new());
    for (name, arn) in others(ecr, &kept).await? {
        let Some(tags) = tags(ecr, &name, &arn).await? else { continue };
        let owner = context.owner();
        let Some(address) = owner.address(&tags) else { continue };
        changes.push(Change::delete(address).with("name", &name));
        let force = tags.get(FORCE_DELETE).is_some_and(|force| force == "true");
        // A spec that gives its images up says it after the repository was tagged.
        let force = context.may_lose(address) && (force || !context.run.teardown);
        if context.operation == Operation::Prune {
            delete(ecr, &name, address, force).await?;
        } else if !force && holds_images(ecr, &name).await? {
            refused.push(refusal(context, &name, address));
        }
    }
    Ok((changes, refused))
}

/// Why a repository can't go: it holds images that nobody gave up.
fn refusal(context: &Context, name: &str, address: &str) -> String {
    if context.run.teardown {
        return full(name, address);
    }
    loss(address, &format!("ECR repository ({name})"), "which holds images that would be deleted")
}

fn full(name: &str, address: &str) -> String {
    format!(
        "{address}: ECR repository ({name}) holds images: delete them, or set `forceDelete: true` at {address} and \
         apply that first"
    )
}

async fn holds_images(ecr: &Client, name: &str) -> Result<bool> {
    let listed = ecr.list_images().repository_name(name).max_results(1).send().await;
    let listed = listed.unless_absent(&["RepositoryNotFoundException"], || {
        format!("listing the images of ECR repository ({name})")
    })?;
    Ok(listed.is_some_and(|listed| !listed.image_ids().is_empty()))
}

async fn find(ecr: &Client, context: &Context, name: &str) -> Result<Option<Found>> {
    let described = ecr.describe_repositories().repository_names(name).send().await;
    let described = described
        .unless_absent(&["RepositoryNotFoundException"], || format!("describing ECR repository ({name})"))?;
    let Some(repository) = described.and_then(|answer| answer.repositories?.into_iter().next()) else {
        return Ok(None);
    };
    let Some(tags) = tags(ecr, name, repository.repository_arn().unwrap_or_default()).await? else {
        return Ok(None);
    };
    context.owner().check(&format!("ECR repository ({name})"), &tags)?;
    Ok(Some(Found { lifecycle: find_lifecycle(ecr, name).await?, repository, tags }))
}

async fn find_lifecycle(ecr: &Client, name: &str) -> Result<Option<Value>> {
    let answer = ecr.get_lifecycle_policy().repository_name(name).send().await;
    let answer = answer.unless_absent(&["LifecyclePolicyNotFoundException"], || {
        format!("reading the lifecycle policy of ECR repository ({name})")
    })?;
    let text = answer.and_then(|answer| answer.lifecycle_policy_text);
    Ok(text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// The names and ARNs of every repository but these: ECR can't be asked for tags.
async fn others(ecr: &Client, kept: &[String]) -> Result<Vec<(String, String)>> {
    let repositories = ecr
        .describe_repositories()
        .into_paginator()
        .items()
        .send()
        .collect::<std::result::Result<Vec<_>, _>>()
        .await
        .doing(|| "listing ECR repositories")?;
    let named =
        repositories.into_iter().filter_map(|found| Some((found.repository_name?, found.repository_arn?)));
    Ok(named.filter(|(name, _)| !kept.contains(name)).collect())
}

/// A repository's tags; none if it is gone.
async fn tags(ecr: &Client, name: &str, arn: &str) -> Result<Option<BTreeMap<String, String>>> {
    let answer = ecr.list_tags_for_resource().resource_arn(arn).send().await;
    let answer = answer.unless_absent(&["RepositoryNotFoundException"], || {
        format!("reading the tags of ECR repository ({name})")
    })?;
    let pair = |tag: &Tag| (tag.key().to_owned(), tag.value().to_owned());
    Ok(answer.map(|answer| answer.tags().iter().map(pair).collect()))
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let text = |policy: &Option<Value>| policy.as_ref().map_or("none".to_owned(), Value::to_string);
    // Compared as JSON, shown as text: ECR answers the policy with white space of its own.
    let lifecycle = (found.lifecycle != wanted.lifecycle).then(|| Field {
        name: "lifecycle".to_owned(),
        found: Some(text(&found.lifecycle)),
        wanted: text(&wanted.lifecycle),
    });
    [
        compare("scanOnPush", scan_on_push(found), wanted.scan_on_push),
        compare("mutable", mutable(found), wanted.mutability == ImageTagMutability::Mutable),
        lifecycle,
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &wanted.tags))
    .collect()
}

/// What encrypts a repository is settled when it is made.
/// Source: <https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html>
fn misfit(found: &Found, wanted: &Wanted) -> Option<Error> {
    let key = found.repository.encryption_configuration().and_then(EncryptionConfiguration::kms_key);
    let field = compare_key(key, wanted.encryption.as_ref())?;
    Some(Error::InvalidSpec(format!(
        "{address}: ECR repository ({}) is encrypted with {}, and ECR can't change that to {}: give it another \
         `name:`, or write `allowDataLoss: [{address}]` at the top of the spec: it is deleted with its images and \
         made anew",
        wanted.name,
        field.found.unwrap_or_default(),
        field.wanted,
        address = wanted.address,
    )))
}

fn scan_on_push(found: &Found) -> bool {
    found.repository.image_scanning_configuration().is_some_and(ImageScanningConfiguration::scan_on_push)
}

fn mutable(found: &Found) -> bool {
    found.repository.image_tag_mutability() == Some(&ImageTagMutability::Mutable)
}

async fn create(ecr: &Client, wanted: &Wanted) -> Result<Found> {
    let created = ecr
        .create_repository()
        .repository_name(&wanted.name)
        .image_scanning_configuration(scanning(wanted))
        .image_tag_mutability(wanted.mutability.clone())
        .set_encryption_configuration(encryption(wanted)?)
        .set_tags(Some(tag_list(wanted)?))
        .send()
        .await
        .doing(|| format!("creating ECR repository ({})", wanted.name))?;
    let repository = created.repository.ok_or_else(|| {
        Error::Failed(format!("creating ECR repository ({}): no repository answered", wanted.name))
    })?;
    Ok(Found { repository, lifecycle: None, tags: wanted.tags.clone() })
}

async fn update(ecr: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    if scan_on_push(found) != wanted.scan_on_push {
        let put = ecr.put_image_scanning_configuration().repository_name(name);
        let put = put.image_scanning_configuration(scanning(wanted)).send().await;
        put.doing(|| format!("changing the scanning of ECR repository ({name})"))?;
    }
    if mutable(found) != (wanted.mutability == ImageTagMutability::Mutable) {
        let put = ecr.put_image_tag_mutability().repository_name(name);
        let put = put.image_tag_mutability(wanted.mutability.clone()).send().await;
        put.doing(|| format!("changing the tag mutability of ECR repository ({name})"))?;
    }
    if found.lifecycle != wanted.lifecycle {
        update_lifecycle(ecr, wanted).await?;
    }
    if !missing_tags(&found.tags, &wanted.tags).is_empty() {
        let arn = found.repository.repository_arn().unwrap_or_default();
        let tagged = ecr.tag_resource().resource_arn(arn).set_tags(Some(tag_list(wanted)?)).send().await;
        tagged.doing(|| format!("tagging ECR repository ({name})"))?;
    }
    Ok(())
}

async fn update_lifecycle(ecr: &Client, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    if let Some(policy) = &wanted.lifecycle {
        let put = ecr.put_lifecycle_policy().repository_name(name).lifecycle_policy_text(policy.to_string());
        put.send().await.doing(|| format!("putting the lifecycle policy of ECR repository ({name})"))?;
    } else {
        let deleted = ecr.delete_lifecycle_policy().repository_name(name).send().await;
        deleted.unless_absent(&["LifecyclePolicyNotFoundException"], || {
            format!("deleting the lifecycle policy of ECR repository ({name})")
        })?;
    }
    Ok(())
}

fn encryption(wanted: &Wanted) -> Result<Option<EncryptionConfiguration>> {
    let Some(arn) = &wanted.encryption else { return Ok(None) };
    let built = EncryptionConfiguration::builder().encryption_type(EncryptionType::Kms).kms_key(arn).build();
    built.map(Some).map_err(|error| Error::Failed(format!("writing how a repository is encrypted: {error}")))
}

fn scanning(wanted: &Wanted) -> ImageScanningConfiguration {
    ImageScanningConfiguration::builder().scan_on_push(wanted.scan_on_push).build()
}

fn tag_list(wanted: &Wanted) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let tags = wanted.tags.iter().map(tag).collect::<std::result::Result<_, _>>();
    tags.map_err(|error| Error::Failed(format!("writing a tag: {error}")))
}

async fn delete(ecr: &Client, name: &str, address: &str, force: bool) -> Result<()> {
    let deleted = ecr.delete_repository().repository_name(name).force(force).send().await;
    if deleted.as_ref().is_err_and(|error| error.code() == Some("RepositoryNotEmptyException")) {
        return Err(Error::Conflict(full(name, address)));
    }
    deleted
        .unless_absent(&["RepositoryNotFoundException"], || format!("deleting ECR repository ({name})"))?;
    Ok(())
}

fn output(wanted: &Wanted, found: Option<&Found>) -> RepositoryOutput {
    let told = |text: Option<&str>| text.unwrap_or(UNKNOWN).to_owned();
    let repository = found.map(|found| &found.repository);
    RepositoryOutput {
        name: wanted.name.clone(),
        arn: told(repository.and_then(Repository::repository_arn)),
        uri: told(repository.and_then(Repository::repository_uri)),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecr::{
        error::ErrorMetadata,
        operation::{
            create_repository::CreateRepositoryOutput,
            delete_repository::{DeleteRepositoryError, DeleteRepositoryOutput},
            describe_repositories::{DescribeRepositoriesError, DescribeRepositoriesOutput},
            get_lifecycle_policy::GetLifecyclePolicyOutput,
            list_images::ListImagesOutput,
            list_tags_for_resource::ListTagsForResourceOutput,
            put_image_scanning_configuration::PutImageScanningConfigurationOutput,
            put_lifecycle_policy::PutLifecyclePolicyOutput,
        },
        types::ImageIdentifier,
    };
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use spec::Spec;
    use step::Outputs;

    use super::*;

    const SPEC: &str = "{ apiVersion: plinth/v1, name: demo,
        repositories: { api: { keep: 20, untagged: { expire: 1d } } } }";

    fn context(operation: Operation) -> Context {
        step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
    }

    /// The environment is taken away.
    fn dropped(operation: Operation) -> Context {
        let mut context = step::test::context(operation, Spec::empty("demo"), Outputs::default());
        context.run.teardown = true;
        context
    }

    fn holding(images: usize) -> Rule {
        mock!(Client::list_images).then_output(move || {
            let image = ImageIdentifier::builder().image_tag("v1").build();
            ListImagesOutput::builder().set_image_ids(Some(vec![image; images])).build()
        })
    }

    #[tokio::test]
    async fn a_repository_with_images_is_not_dropped_unless_the_spec_gives_them_up() {
        let rules = [&described(true), &tagged(our_tags()), &holding(1)];
        let mut context = dropped(Operation::Plan);
        let refused = |answer: Result<Answer>| answer.expect("an answer").refused;
        let told = refused(plan(&client(&rules), &context).await);
        assert!(told[0].contains("set `forceDelete: true` at repositories.api"), "{told:?}");
        context.run.teardown = false;
        let told = refused(plan(&client(&rules), &context).await);
        assert!(told[0].contains("`allowDataLoss: [repositories.api]`"), "{told:?}");
        let empty = [&described(true), &tagged(our_tags()), &holding(0)];
        assert_eq!(refused(plan(&client(&empty), &context).await), Vec::<String>::new());

        context.spec.allow_data_loss = vec!["repositories.api".to_owned()];
        assert_eq!(refused(plan(&client(&rules), &context).await), Vec::<String>::new());
        let delete = mock!(Client::delete_repository)
            .match_requests(|request| request.force() == Some(true))
            .then_output(|| DeleteRepositoryOutput::builder().build());
        context.operation = Operation::Prune;
        prune(&client(&[&described(true), &tagged(our_tags()), &delete]), &context).await.expect("an answer");
        assert_eq!(delete.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_repository_under_another_key_keeps_its_name_and_its_images() {
        let mut context = context(Operation::Plan);
        let mut repository = context.spec.repositories.remove("api").expect("a repository");
        repository.formerly = Some("api".to_owned());
        context.spec.repositories.insert("images".to_owned(), repository);
        let rules = [&described(true), &tagged(our_tags()), &with_lifecycle()];
        let planned = plan(&client(&rules), &context).await.expect("an answer");
        let fields =
            Vec::from_iter(compare("tags.plinth:address", "repositories.api", "repositories.images"));
        assert_eq!(planned.changes, Vec::from_iter(Change::update("repositories.images", fields)));
        assert_eq!(planned.refused, Vec::<String>::new());
    }

    fn demo() -> Wanted {
        wanted(&context(Operation::Plan)).expect("a spec").remove(0)
    }

    fn described(scan_on_push: bool) -> Rule {
        let scanning = ImageScanningConfiguration::builder().scan_on_push(scan_on_push).build();
        let repository = Repository::builder()
            .repository_name("demo-api")
            .repository_arn("arn:api")
            .repository_uri("host/demo-api")
            .image_tag_mutability(ImageTagMutability::Immutable)
            .image_scanning_configuration(scanning)
            .build();
        mock!(Client::describe_repositories).then_output(move || {
            DescribeRepositoriesOutput::builder().repositories(repository.clone()).build()
        })
    }

    fn tagged(tags: Vec<Tag>) -> Rule {
        mock!(Client::list_tags_for_resource)
            .then_output(move || ListTagsForResourceOutput::builder().set_tags(Some(tags.clone())).build())
    }

    fn our_tags() -> Vec<Tag> {
        tag_list(&demo()).expect("tags")
    }

    fn with_lifecycle() -> Rule {
        let policy = serde_json::to_string_pretty(&demo().lifecycle).expect("JSON");
        mock!(Client::get_lifecycle_policy).then_output(move || {
            GetLifecyclePolicyOutput::builder().lifecycle_policy_text(policy.clone()).build()
        })
    }

    /// A client that refuses every call for which there is no rule.
    fn client(rules: &[&Rule]) -> Client {
        mock_client!(aws_sdk_ecr, RuleMode::MatchAny, rules)
    }

    #[tokio::test]
    async fn a_missing_repository_is_created_with_our_tags_and_its_lifecycle() {
        let absent = mock!(Client::describe_repositories).then_error(|| {
            let meta = ErrorMetadata::builder().code("RepositoryNotFoundException").build();
            DescribeRepositoriesError::generic(meta)
        });
        let create = mock!(Client::create_repository)
            .match_requests(|request| {
                request.repository_name() == Some("demo-api")
                    && request
                        .image_scanning_configuration()
                        .is_some_and(ImageScanningConfiguration::scan_on_push)
                    && request.image_tag_mutability() == Some(&ImageTagMutability::Immutable)
                    && request.tags() == our_tags()
            })
            .then_output(|| CreateRepositoryOutput::builder().repository(made()).build());
        let put = mock!(Client::put_lifecycle_policy)
            .match_requests(|request| {
                let rules: Value = request
                    .lifecycle_policy_text()
                    .and_then(|text| serde_json::from_str(text).ok())
                    .unwrap_or_default();
                rules["rules"][0]["selection"]["countNumber"] == 1
                    && rules["rules"][1]["selection"]["countNumber"] == 20
            })
            .then_output(|| PutLifecyclePolicyOutput::builder().build());
        let answer = ensure(&client(&[&absent, &create, &put]), &context(Operation::Ensure)).await;
        assert_eq!(answer.expect("an answer").output["api"]["uri"], "host/demo-api");
        assert_eq!((create.num_calls(), put.num_calls()), (1, 1));
    }

    #[tokio::test]
    async fn a_repository_that_matches_is_left_alone() {
        let rules = [&described(true), &tagged(our_tags()), &with_lifecycle()];
        ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
        let planned = plan(&client(&rules), &context(Operation::Plan)).await.expect("an answer");
        assert_eq!(planned.changes, []);
    }

    #[tokio::test]
    async fn a_repository_that_another_key_encrypts_is_refused() {
        let mut context = context(Operation::Ensure);
        context.spec.key = Some(spec::Key::default());
        let arn = "arn:aws:kms:us-east-1:123456789012:key/1".to_owned();
        context.outputs.key = Some(step::KeyOutput { id: "1".to_owned(), arn });
        let rules = [&described(true), &tagged(our_tags()), &with_lifecycle()];
        let error = ensure(&client(&rules), &context).await.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec");
        context.operation = Operation::Plan;
        assert_eq!(plan(&client(&rules), &context).await.unwrap_err().kind(), "InvalidSpec");

        // Where the spec says so it goes with its images, and another has its name.
        context.spec.allow_data_loss = vec!["repositories.api".to_owned()];
        let delete = mock!(Client::delete_repository)
            .match_requests(|request| request.force() == Some(true))
            .then_output(|| DeleteRepositoryOutput::builder().build());
        let create = mock!(Client::create_repository)
            .match_requests(|request| request.repository_name() == Some("demo-api"))
            .then_output(|| CreateRepositoryOutput::builder().repository(made()).build());
        let put =
            mock!(Client::put_lifecycle_policy).then_output(|| PutLifecyclePolicyOutput::builder().build());
        let rules = [&described(true), &tagged(our_tags()), &with_lifecycle(), &delete, &create, &put];
        let planned = plan(&client(&rules), &context).await.expect("an answer");
        let change = |change: Change| change.with("name", "demo-api");
        let address = "repositories.api";
        assert_eq!(planned.changes, [change(Change::delete(address)), change(Change::create(address))]);
        context.operation = Operation::Ensure;
        ensure(&client(&rules), &context).await.expect("an answer");
        assert_eq!((delete.num_calls(), create.num_calls(), put.num_calls()), (1, 1, 1));
    }

    /// A repository as it is made.
    fn made() -> Repository {
        let scanning = ImageScanningConfiguration::builder().scan_on_push(true).build();
        Repository::builder()
            .repository_arn("arn:api")
            .repository_uri("host/demo-api")
            .image_tag_mutability(ImageTagMutability::Immutable)
            .image_scanning_configuration(scanning)
            .build()
    }

    #[tokio::test]
    async fn scanning_that_drifted_is_planned_and_put_back() {
        let put = mock!(Client::put_image_scanning_configuration)
            .match_requests(|request| {
                request.image_scanning_configuration().is_some_and(ImageScanningConfiguration::scan_on_push)
            })
            .then_output(|| PutImageScanningConfigurationOutput::builder().build());
        let rules = [&described(false), &tagged(our_tags()), &with_lifecycle(), &put];
        let planned = plan(&client(&rules), &context(Operation::Plan)).await.expect("an answer");
        let fields = Vec::from_iter(compare("scanOnPush", false, true));
        assert_eq!(planned.changes, Vec::from_iter(Change::update("repositories.api", fields)));
        ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
        assert_eq!(put.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_repository_of_somebody_else_is_refused() {
        let rules = [&described(true), &tagged(Vec::new())];
        let error = ensure(&client(&rules), &context(Operation::Ensure)).await.unwrap_err();
        assert_eq!(error.kind(), "Conflict");
    }

    #[tokio::test]
    async fn a_dropped_repository_is_planned_and_deleted_without_force() {
        let delete = mock!(Client::delete_repository)
            .match_requests(|request| {
                request.repository_name() == Some("demo-api") && request.force() == Some(false)
            })
            .then_output(|| DeleteRepositoryOutput::builder().build());
        let rules = [&described(true), &tagged(our_tags()), &delete, &holding(0)];
        let planned = plan(&client(&rules), &dropped(Operation::Plan)).await.expect("an answer");
        assert_eq!((planned.changes.len(), delete.num_calls()), (1, 0));
        prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
        assert_eq!(delete.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_repository_tagged_so_is_deleted_with_its_images() {
        let mut wanted = demo();
        wanted.tags.insert(FORCE_DELETE.to_owned(), "true".to_owned());
        let delete = mock!(Client::delete_repository)
            .match_requests(|request| request.force() == Some(true))
            .then_output(|| DeleteRepositoryOutput::builder().build());
        let rules = [&described(true), &tagged(tag_list(&wanted).expect("tags")), &delete];
        prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
        assert_eq!(delete.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_repository_that_holds_images_stands_in_the_way() {
        let full = mock!(Client::delete_repository).then_error(|| {
            let meta = ErrorMetadata::builder().code("RepositoryNotEmptyException").build();
            DeleteRepositoryError::generic(meta)
        });
        let rules = [&described(true), &tagged(our_tags()), &full];
        let error = prune(&client(&rules), &dropped(Operation::Prune)).await.unwrap_err();
        assert_eq!(error.kind(), "Conflict");
        assert!(error.to_string().contains("set `forceDelete: true` at repositories.api"), "{error}");
    }

    #[tokio::test]
    async fn a_repository_that_is_not_ours_is_not_deleted() {
        let rules = [&described(true), &tagged(Vec::new())];
        let pruned = prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
        assert_eq!(pruned.changes, []);
    }
}
