//! Whether a task's images are there. What other registries hold isn't looked up.

use std::collections::BTreeMap;

use aws_sdk_ecr::{Client, types::ImageIdentifier};
use spec::{Part, Section, Text};
use step::{Context, Doing, Error, Pace, RepositoryOutput, Result, side_by_side};

use crate::{Image, Task};

/// Waits for the images, of all its containers, that lie in a repository of the environment, and says how to
/// push one.
pub async fn ready(ecr: &Client, context: &Context, task: &Task<'_>) -> Result<()> {
    let images = task.containers().filter_map(|container| match container.image {
        Image::Written(text) | Image::Deployed { first: text, now: None } => Some((text.to_string(), text)),
        Image::Followed(_) | Image::Deployed { now: Some(_), .. } => None,
    });
    let images: BTreeMap<String, &Text> = images.collect();
    side_by_side(images.into_values().map(|image| is_there(ecr, context, image))).await?;
    Ok(())
}

async fn is_there(ecr: &Client, context: &Context, image: &Text) -> Result<()> {
    let Some((repository, identifier)) = of(context, image)? else { return Ok(()) };
    let name = &repository.name;
    let described = ecr.describe_images().repository_name(name).image_ids(identifier.clone()).send().await;
    let described = described.unless_absent(&["ImageNotFoundException"], || {
        format!("looking for an image in repository ({name})")
    })?;
    if described.is_some() {
        return Ok(());
    }
    let image = context.render(image)?;
    let push = pushing(context, &repository.uri, &image);
    Err(Error::asking(Pace::Later, format!("the image {image} isn't there: {push}")))
}

/// How an image is pushed to the repository with this URI.
pub(crate) fn pushing(context: &Context, uri: &str, image: &str) -> String {
    let registry = uri.split('/').next().unwrap_or_default();
    format!(
        "aws ecr get-login-password --region {} | docker login --username AWS --password-stdin {registry} && \
         docker push {image}",
        context.run.region
    )
}

/// The repository of the environment that the image lies in, and which image of it is meant.
fn of<'a>(context: &'a Context, image: &Text) -> Result<Option<(&'a RepositoryOutput, ImageIdentifier)>> {
    let Some(Part::Reference(reference)) = image.parts.first() else { return Ok(None) };
    if reference.section != Section::Repositories || !reference.attribute.is_empty() {
        return Ok(None);
    }
    let name = reference.name.as_deref().unwrap_or_default();
    let output = context.outputs.repositories.get(name);
    let repository = context.known(output, &format!("repositories.{name}"))?;
    let image = context.render(image)?;
    let rest = image.strip_prefix(&repository.uri).unwrap_or_default();
    let identifier = ImageIdentifier::builder();
    let identifier = match rest.strip_prefix('@') {
        Some(digest) => identifier.image_digest(digest),
        None => identifier.image_tag(rest.strip_prefix(':').unwrap_or("latest")),
    };
    Ok(Some((repository, identifier.build())))
}
