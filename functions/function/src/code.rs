//! What a function runs: a package that comes with Plinth, a ZIP file, or an image.
//!
//! Lambda reads ZIP files from S3 in its own region alone. Packages lie in the control plane's bucket,
//! which may be in another one: they are small, and handed over as bytes. A ZIP file, which may be larger
//! than a request, has to lie in the run's region, and Lambda reads it itself.
//! Source: <https://docs.aws.amazon.com/lambda/latest/api/API_FunctionCode.html>

use aws_sdk_ecr::types::{ImageDetail, ImageIdentifier};
use aws_sdk_lambda::{
    operation::update_function_code::builders::UpdateFunctionCodeFluentBuilder as Update,
    primitives::Blob,
    types::{FunctionCode, FunctionCodeLocation, FunctionConfiguration, PackageType},
};
use aws_sdk_s3::{
    Client as S3, error::ProvideErrorMetadata, operation::get_object::GetObjectOutput, primitives::ByteStream,
};
use aws_smithy_types::base64;
use sha2::{Digest, Sha256};
use spec::{Architecture, Function, Part, Section, Text};
use step::{Context, Doing, Error, Field, Pace, RepositoryOutput, Result, UNKNOWN, compare};

use super::Clients;

/// What S3 answers for a bucket that is in another region than the one that was asked.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const ELSEWHERE: [&str; 3] =
    ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"];

/// What S3 answers for an object that isn't there.
const ABSENT: [&str; 2] = ["NoSuchKey", "NoSuchBucket"];

/// What ECR answers for an image that isn't there.
const NO_IMAGE: [&str; 2] = ["ImageNotFoundException", "RepositoryNotFoundException"];

/// The code that the spec names.
pub(crate) struct Wanted {
    address: String,
    source: Source,
}

enum Source {
    /// An object in the control plane's bucket.
    Package { bucket: String, key: String },
    /// An object in the run's region; in a bucket of the environment it may come later.
    Zip { bucket: String, key: String, own: bool },
    /// An image; what is known of it if it lies in a repository of the environment, where it may come later.
    Image { uri: String, own: Option<(RepositoryOutput, ImageIdentifier)> },
}

/// The processor a function's code is built for, as Lambda says it.
pub(crate) fn architecture(function: &Function) -> &'static str {
    match function.architecture {
        Architecture::X86 => "x86_64",
        Architecture::Arm => "arm64",
    }
}

pub(crate) fn wanted(context: &Context, address: &str, function: &Function) -> Result<Wanted> {
    let source = if let Some(package) = &function.package {
        let key = format!("packages/{package}-{}.zip", architecture(function));
        Source::Package { bucket: context.run.spec.bucket.clone(), key }
    } else if let Some(zip) = &function.zip {
        zipped(context, address, zip)?
    } else if let Some(image) = &function.image {
        Source::Image { uri: context.render(image)?, own: own_image(context, image)? }
    } else {
        let message = format!("{address} has no code: write one of package, zip and image");
        return Err(Error::InvalidSpec(message));
    };
    Ok(Wanted { address: address.to_owned(), source })
}

fn zipped(context: &Context, address: &str, zip: &Text) -> Result<Source> {
    let text = context.render(zip)?;
    let parts = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    let (bucket, key) =
        parts.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty()).ok_or_else(|| {
            Error::InvalidSpec(format!("{address}.zip: \"{text}\" names no object; write s3://bucket/key"))
        })?;
    let own = zip.references().any(|reference| reference.section == Section::Buckets);
    Ok(Source::Zip { bucket: bucket.to_owned(), key: key.to_owned(), own })
}

/// The repository of the environment that the image lies in, and which image of it is meant.
fn own_image(context: &Context, image: &Text) -> Result<Option<(RepositoryOutput, ImageIdentifier)>> {
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
    Ok(Some((repository.clone(), identifier.build())))
}

impl Wanted {
    /// Whether it is a ZIP file or an image.
    pub(crate) fn kind(&self) -> PackageType {
        match self.source {
            Source::Package { .. } | Source::Zip { .. } => PackageType::Zip,
            Source::Image { .. } => PackageType::Image,
        }
    }

    /// Where it lies.
    pub(crate) fn told(&self) -> String {
        match &self.source {
            Source::Package { bucket, key } | Source::Zip { bucket, key, .. } => {
                format!("s3://{bucket}/{key}")
            }
            Source::Image { uri, .. } => uri.clone(),
        }
    }
}

/// Code that is there, and what tells it from other code.
pub(crate) enum Code {
    /// The bytes of a ZIP file.
    Bytes { hash: String, zip: Blob },
    /// A ZIP file in S3.
    Object { hash: String, bucket: String, key: String },
    /// An image; its digest if it lies in a repository of the environment.
    Image { uri: String, digest: Option<String> },
}

impl Code {
    pub(crate) fn for_create(&self) -> FunctionCode {
        let code = FunctionCode::builder();
        match self {
            Self::Bytes { zip, .. } => code.zip_file(zip.clone()),
            Self::Object { bucket, key, .. } => code.s3_bucket(bucket).s3_key(key),
            Self::Image { uri, .. } => code.image_uri(uri),
        }
        .build()
    }

    pub(crate) fn for_update(&self, update: Update) -> Update {
        match self {
            Self::Bytes { zip, .. } => update.zip_file(zip.clone()),
            Self::Object { bucket, key, .. } => update.s3_bucket(bucket).s3_key(key),
            Self::Image { uri, .. } => update.image_uri(uri),
        }
    }
}

/// The code, which is there; what the user has yet to put into the environment is waited for.
pub(crate) async fn ready(clients: &Clients, context: &Context, wanted: &Wanted) -> Result<Code> {
    match find(clients, context, wanted).await? {
        Some(code) => Ok(code),
        None => Err(missing(context, wanted)),
    }
}

/// The code; none if the user has yet to put it into a bucket or a repository of the environment.
pub(crate) async fn find(clients: &Clients, context: &Context, wanted: &Wanted) -> Result<Option<Code>> {
    match &wanted.source {
        Source::Package { bucket, key } => {
            let Some(object) = object(&clients.packages, context, wanted, bucket, key).await? else {
                return Err(Error::InvalidSpec(format!(
                    "{}.package: there is no such package: s3://{bucket}/{key} is absent; it comes there with \
                     `infra/deploy`",
                    wanted.address
                )));
            };
            let bytes = object.body.collect().await.map_err(|error| unread(wanted, &error))?.into_bytes();
            let hash = base64::encode(Sha256::digest(&bytes));
            Ok(Some(Code::Bytes { hash, zip: Blob::new(bytes) }))
        }
        Source::Zip { bucket, key, own } => match object(&clients.s3, context, wanted, bucket, key).await? {
            Some(object) => {
                let hash = hash(wanted, object.body).await?;
                Ok(Some(Code::Object { hash, bucket: bucket.clone(), key: key.clone() }))
            }
            None if *own => Ok(None),
            None => Err(Error::InvalidSpec(format!(
                "{}.zip: s3://{bucket}/{key} isn't there: put it there, or name another",
                wanted.address
            ))),
        },
        Source::Image { uri, own: None } => Ok(Some(Code::Image { uri: uri.clone(), digest: None })),
        Source::Image { uri, own: Some((repository, identifier)) } => {
            let digest = digest(clients, &repository.name, identifier).await?;
            Ok(digest.map(|digest| Code::Image { uri: uri.clone(), digest: Some(digest) }))
        }
    }
}

async fn object(
    s3: &S3,
    context: &Context,
    wanted: &Wanted,
    bucket: &str,
    key: &str,
) -> Result<Option<GetObjectOutput>> {
    let object = s3.get_object().bucket(bucket).key(key).send().await;
    if object.as_ref().is_err_and(|error| error.code().is_some_and(|code| ELSEWHERE.contains(&code))) {
        return Err(Error::InvalidSpec(format!(
            "{}.zip: s3://{bucket} is in another region: Lambda reads code from {} alone",
            wanted.address, context.run.region
        )));
    }
    object.unless_absent(&ABSENT, || format!("reading s3://{bucket}/{key}"))
}

/// The hash of a ZIP file as Lambda tells it, taken piece by piece: it may be larger than our memory.
async fn hash(wanted: &Wanted, mut body: ByteStream) -> Result<String> {
    let mut hash = Sha256::new();
    while let Some(piece) = body.try_next().await.map_err(|error| unread(wanted, &error))? {
        hash.update(&piece);
    }
    Ok(base64::encode(hash.finalize()))
}

fn unread(wanted: &Wanted, error: &dyn std::error::Error) -> Error {
    Error::Throttled(format!("reading {}: {error}", wanted.told()))
}

/// The digest of an image; none if it isn't there.
async fn digest(clients: &Clients, repository: &str, identifier: &ImageIdentifier) -> Result<Option<String>> {
    if repository == UNKNOWN {
        return Ok(None);
    }
    let described = clients.ecr.describe_images().repository_name(repository);
    let described = described.image_ids(identifier.clone()).send().await;
    let described = described
        .unless_absent(&NO_IMAGE, || format!("looking for an image in repository ({repository})"))?;
    let image: Option<ImageDetail> = described.and_then(|answer| answer.image_details?.into_iter().next());
    Ok(image.and_then(|image| image.image_digest))
}

/// What is waited for, and how to put it there.
fn missing(context: &Context, wanted: &Wanted) -> Error {
    let (what, region) = (wanted.told(), &context.run.region);
    let how = match &wanted.source {
        Source::Image { own, .. } => {
            let uri = own.as_ref().map(|(repository, _)| repository.uri.as_str()).unwrap_or_default();
            let registry = uri.split('/').next().unwrap_or_default();
            format!(
                "aws ecr get-login-password --region {region} | docker login --username AWS --password-stdin \
                 {registry} && docker push {what}"
            )
        }
        Source::Package { .. } | Source::Zip { .. } => format!("aws s3 cp <file> {what} --region {region}"),
    };
    let kind = if wanted.kind() == PackageType::Image { "image" } else { "ZIP file" };
    Error::asking(Pace::Later, format!("the {kind} {what} isn't there: {how}"))
}

/// Of an image the digest that its tag stood for when Lambda took it, and of a ZIP file the hash.
pub(crate) fn difference(
    found: &FunctionConfiguration,
    location: &FunctionCodeLocation,
    wanted: &Wanted,
    code: Option<&Code>,
) -> Vec<Field> {
    let hash = found.code_sha256().unwrap_or_default();
    let uri = location.image_uri().unwrap_or_default();
    let resolved = location.resolved_image_uri().unwrap_or_default();
    let fields = match code {
        None => {
            let current = if wanted.kind() == PackageType::Image { uri } else { hash };
            let wanted = format!("{}, which isn't there yet", wanted.told());
            vec![compare("code", current, &wanted)]
        }
        Some(Code::Bytes { hash: wanted, .. } | Code::Object { hash: wanted, .. }) => {
            vec![compare("code", hash, wanted)]
        }
        Some(Code::Image { uri: wanted, digest }) => {
            let found = resolved.split_once('@').map_or(resolved, |(_, digest)| digest);
            let moved = digest.as_ref().and_then(|digest| compare("code", found, digest));
            vec![compare("image", uri, wanted), moved]
        }
    };
    fields.into_iter().flatten().collect()
}
