//! The newest image of a repository that a service follows, pinned by its digest.
//!
//! A digest whose tasks didn't stay up, so that ECS went back to the revision before (or somebody did by hand), is
//! refused: a tag of the service remembers it, and the next newest is taken until a newer one is pushed.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecr::{
    Client as Ecr,
    primitives::DateTime,
    types::{DescribeImagesFilter, ImageDetail, TagStatus},
};
use aws_sdk_ecs::{
    Client as Ecs,
    types::{Service, ServiceField, Tag},
};
use spec::Follow;
use step::{Context, Doing, Error, Pace, RepositoryOutput, Result, side_by_side};

use crate::{Task, image::pushing, task_definition, version::Version};

/// The tag of a service that names the revision which a run deployed, and the run: `7 <run>`. When ECS rolled that
/// back, the same run doesn't deploy it again.
pub const DEPLOYED: &str = "plinth:deployed";

/// The tag of a service that names what is refused: the run and the revision that were rolled back last, and the
/// beginnings of digests, the newest last.
pub const REFUSED: &str = "plinth:refused";

/// How much of a digest is remembered, in hex digits, and how many are: a tag's value has at most 256 characters,
/// of which an execution's name may take 80.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Tag.html>
const DIGITS: usize = 16;
const REMEMBERED: usize = 9;

/// The most images that one answer describes.
/// Source: <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html>
const PAGE: i32 = 1000;

/// The tagged images of repositories, by their names in the spec.
pub struct Images(BTreeMap<String, Vec<ImageDetail>>);

impl Images {
    /// Lists the repositories that these services follow, each once.
    pub async fn list<'a>(
        ecr: &Ecr,
        context: &Context,
        services: impl Iterator<Item = &'a spec::Service>,
    ) -> Result<Self> {
        let followed: BTreeSet<&String> =
            services.filter_map(|service| Some(&service.image.followed()?.repository)).collect();
        let listed = followed.into_iter().map(async |key| {
            let name = &repository(context, key)?.name;
            Ok((key.clone(), list(ecr, name).await?))
        });
        Ok(Self(side_by_side(listed).await?.into_iter().collect()))
    }
}

/// A repository that has yet to be made holds nothing.
async fn list(ecr: &Ecr, name: &str) -> Result<Vec<ImageDetail>> {
    let tagged = DescribeImagesFilter::builder().tag_status(TagStatus::Tagged).build();
    let pages =
        ecr.describe_images().repository_name(name).filter(tagged).into_paginator().page_size(PAGE).items();
    let images: std::result::Result<Vec<_>, _> = pages.send().collect().await;
    let images = images.unless_absent(&["RepositoryNotFoundException"], || {
        format!("listing the images of repository ({name})")
    });
    Ok(images?.unwrap_or_default())
}

fn repository<'a>(context: &'a Context, key: &str) -> Result<&'a RepositoryOutput> {
    context.known(context.outputs.repositories.get(key), &format!("repositories.{key}"))
}

/// What a service that follows a repository is started from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newest {
    /// `<repository>@<digest>`; none if no image is there.
    pub image: Option<String>,
    /// What is refused.
    pub refused: Option<Refused>,
    /// Whether the service has yet to remember it.
    pub unremembered: bool,
    /// The image that would be taken if it weren't refused, as people call it.
    pub passed_over: Option<String>,
}

/// What is refused of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// The run whose revision was rolled back last.
    pub run: String,
    /// The number of that revision.
    pub revision: String,
    digests: Vec<String>,
}

impl Refused {
    fn read(tag: &str) -> Self {
        let mut words = tag.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        Self { run: word(), revision: word(), digests: words.collect() }
    }

    /// The value of the tag [`REFUSED`].
    pub fn tag(&self) -> String {
        format!("{} {} {}", self.run, self.revision, self.digests.join(" "))
    }

    fn has(&self, digest: &str) -> bool {
        self.digests.iter().any(|refused| refused == short(digest))
    }

    /// With one more, beyond which the oldest is forgotten.
    fn with(mut self, run: &str, revision: &str, digest: &str) -> Self {
        (self.run, self.revision) = (run.to_owned(), revision.to_owned());
        self.digests.push(short(digest).to_owned());
        let forgotten = self.digests.len().saturating_sub(REMEMBERED);
        self.digests.drain(..forgotten);
        self
    }
}

fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..DIGITS).unwrap_or(hex)
}

/// The service of this name as it stands; none if it or its cluster isn't there.
pub async fn standing(ecs: &Ecs, cluster: &str, name: &str) -> Result<Option<Service>> {
    let described =
        ecs.describe_services().cluster(cluster).services(name).include(ServiceField::Tags).send().await;
    let described = described
        .unless_absent(&["ClusterNotFoundException"], || format!("describing ECS service ({name})"))?;
    let service = described.and_then(|answer| answer.services?.into_iter().next());
    Ok(service.filter(|service| service.status() == Some("ACTIVE")))
}

/// Finds the newest image that isn't refused, for a service as it stands. Where all are, it stays with what it has.
pub async fn newest(
    ecs: &Ecs,
    context: &Context,
    images: &Images,
    task: &Task<'_>,
    follow: &Follow,
    standing: Option<&Service>,
) -> Result<Newest> {
    let uri = &repository(context, &follow.repository)?.uri;
    let pin = |digest: &str| format!("{uri}@{digest}");
    let remembered = standing.and_then(|service| tag(service, REFUSED)).map(Refused::read);
    let rolled_back = match standing {
        Some(service) => rolled_back(ecs, context, task, uri, service).await?,
        None => None,
    };
    let new =
        rolled_back.filter(|found| !remembered.as_ref().is_some_and(|refused| refused.has(&found.digest)));
    let unremembered = new.is_some();
    let refused = match new {
        Some(RolledBack { run, revision, digest }) => {
            Some(remembered.unwrap_or_default().with(&run, &revision, &digest))
        }
        None => remembered,
    };
    let is_refused = |digest: &str| refused.as_ref().is_some_and(|refused| refused.has(digest));
    let all = matching(images, follow);
    let last = all.iter().max();
    let taken = all.iter().filter(|found| !is_refused(found.digest)).max();
    let image = match (taken, standing) {
        (Some(found), _) => Some(pin(found.digest)),
        (None, Some(service)) if last.is_some() => {
            let runs = service.task_definition().unwrap_or_default();
            let image = task_definition::image(ecs, runs, task.key).await?;
            image.filter(|image| image.starts_with(&pin("")))
        }
        _ => None,
    };
    let passed_over = last
        .filter(|found| is_refused(found.digest))
        .map(|found| format!("{uri}:{} ({})", found.tag, found.digest));
    Ok(Newest { image, refused, unremembered, passed_over })
}

/// Waits until a repository has an image that can be followed, whichever are refused.
pub(crate) async fn ready(ecr: &Ecr, context: &Context, follow: &Follow) -> Result<()> {
    let images = list(ecr, &repository(context, &follow.repository)?.name).await?;
    let images = Images([(follow.repository.clone(), images)].into());
    let image = matching(&images, follow).first().map(|found| found.digest.to_owned());
    Newest { image, ..Newest::default() }.ready(context, follow)
}

/// An image with a tag that is followed. The newest has the highest version, and without one was pushed last.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found<'a> {
    version: Option<Version>,
    pushed: Option<DateTime>,
    tag: &'a str,
    digest: &'a str,
}

fn matching<'a>(images: &'a Images, follow: &Follow) -> Vec<Found<'a>> {
    let images = images.0.get(&follow.repository).into_iter().flatten();
    let found = images.flat_map(|image| {
        image.image_tags().iter().filter_map(|tag| {
            let version = Version::read(follow.matched(tag)?);
            let pushed = image.image_pushed_at().copied();
            Some(Found { version, pushed, tag, digest: image.image_digest()? })
        })
    });
    found.collect()
}

/// A revision that a run deployed and that isn't the service's any more.
struct RolledBack {
    run: String,
    revision: String,
    digest: String,
}

/// What was rolled back, if its image was another than that of the revision before: else the image isn't at fault.
async fn rolled_back(
    ecs: &Ecs,
    context: &Context,
    task: &Task<'_>,
    uri: &str,
    service: &Service,
) -> Result<Option<RolledBack>> {
    let Some((revision, run)) = tag(service, DEPLOYED).and_then(|tag| tag.split_once(' ')) else {
        return Ok(None);
    };
    let runs = service.task_definition().unwrap_or_default();
    let Some((family, number)) = runs.rsplit_once(':') else { return Ok(None) };
    let earlier = match (number.parse::<u64>(), revision.parse::<u64>()) {
        (Ok(runs), Ok(deployed)) => runs < deployed,
        _ => false,
    };
    if !earlier || family.rsplit('/').next() != Some(&task.family(context)) {
        return Ok(None);
    }
    let deployed = task_definition::image(ecs, &format!("{family}:{revision}"), task.key).await?;
    let digest = deployed.as_ref().and_then(|image| image.strip_prefix(uri)?.strip_prefix('@'));
    let Some(digest) = digest else { return Ok(None) };
    if task_definition::image(ecs, runs, task.key).await? == deployed {
        return Ok(None);
    }
    Ok(Some(RolledBack { run: run.to_owned(), revision: revision.to_owned(), digest: digest.to_owned() }))
}

fn tag<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    service.tags().iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

impl Newest {
    /// Waits for an image, and says how to push one.
    pub fn ready(&self, context: &Context, follow: &Follow) -> Result<()> {
        if self.image.is_some() {
            return Ok(());
        }
        let RepositoryOutput { name, uri, .. } = repository(context, &follow.repository)?;
        let lacks = match &self.passed_over {
            None => format!("repository ({name}) has no image tagged {}", follow.tag),
            Some(image) => format!("{image} was rolled back, and there is no other"),
        };
        let push = pushing(context, uri, &format!("{uri}:{}", follow.example()));
        Err(Error::asking(Pace::Later, format!("{lacks}: {push}")))
    }

    /// What who follows the run should know: a newer image isn't taken.
    pub fn note(&self, task: &Task<'_>) -> Option<String> {
        let image = self.passed_over.as_ref()?;
        Some(format!(
            "passed over: {image} for {}: it was rolled back; push a newer one, or mend and push it anew",
            task.address()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digest: &str, tags: &[&str], pushed: i64) -> ImageDetail {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        let pushed = DateTime::from_secs(pushed);
        ImageDetail::builder().image_digest(digest).set_image_tags(Some(tags)).image_pushed_at(pushed).build()
    }

    fn taken(pattern: &str, images: Vec<ImageDetail>) -> Option<String> {
        let follow = Follow { repository: "app".to_owned(), tag: pattern.to_owned() };
        let images = Images([("app".to_owned(), images)].into());
        matching(&images, &follow).iter().max().map(|found| format!("{} {}", found.tag, found.digest))
    }

    #[test]
    fn the_newest_is_that_of_the_highest_version() {
        let images = vec![
            image("a", &["v1.10.0-playground"], 1),
            image("b", &["v1.9.0-playground", "v2.0.0"], 2),
            image("c", &["latest"], 3),
        ];
        assert_eq!(taken("v*-playground", images.clone()).as_deref(), Some("v1.10.0-playground a"));
        assert_eq!(taken("v*", images.clone()).as_deref(), Some("v2.0.0 b"));
        assert_eq!(taken("latest", images.clone()).as_deref(), Some("latest c"));
        assert_eq!(taken("x*", images), None);
    }

    #[test]
    fn images_without_a_version_are_in_the_order_of_their_pushes_and_before_those_with_one() {
        let images = vec![image("a", &["main-3f2a9c"], 2), image("b", &["main-0c1d2e"], 1)];
        assert_eq!(taken("main-*", images.clone()).as_deref(), Some("main-3f2a9c a"));
        let images = [images, vec![image("c", &["main-1.0"], 0)]].concat();
        assert_eq!(taken("main-*", images).as_deref(), Some("main-1.0 c"));
    }

    #[test]
    fn what_is_refused_is_remembered_in_a_tags_length_the_newest_longest() {
        let digest = |number: usize| format!("sha256:{number:016x}{:048}", 0);
        let run = "r".repeat(80);
        let refused =
            (0..20).fold(Refused::default(), |refused, number| refused.with(&run, "1234", &digest(number)));
        let tag = refused.tag();
        assert!(tag.len() <= 256, "{}", tag.len());
        assert_eq!(Refused::read(&tag), refused);
        assert!(refused.has(&digest(19)) && refused.has(&digest(11)) && !refused.has(&digest(10)));
    }
}
