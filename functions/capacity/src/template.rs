//! The launch template: how an instance of the cluster is started.
//!
//! A changed setting is a new version of the same template, which becomes the default; older ones are
//! deleted.

use std::collections::BTreeMap;

use aws_sdk_ec2::{
    Client,
    types::{
        Filter, LaunchTemplate, LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDevice,
        LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateHttpTokensState,
        LaunchTemplateIamInstanceProfileSpecificationRequest, LaunchTemplateInstanceMetadataEndpointState,
        LaunchTemplateInstanceMetadataOptions, LaunchTemplateInstanceMetadataOptionsRequest,
        LaunchTemplateInstanceNetworkInterfaceSpecification,
        LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, LaunchTemplateTagSpecificationRequest,
        LaunchTemplateVersion, RequestLaunchTemplateData, ResourceType, ResponseLaunchTemplateData, Tag,
        TagSpecification, VolumeType,
    },
};
use spec::{Architecture, Placement};
use step::{Change, Context, Doing, Error, Field, Result, compare, digits, missing_tags};

use crate::{
    TEMPLATE, Wanted,
    user_data::{from_base64, to_base64},
};

/// The root volume of Amazon Linux.
const ROOT: &str = "/dev/xvda";

/// What is tagged when an instance starts.
const TAGGED: [ResourceType; 2] = [ResourceType::Instance, ResourceType::Volume];

/// An answer to the instance itself goes no further: containers in bridge mode are one hop away.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security-iam-roles.html>
const HOPS: i32 = 1;

/// A template with its versions.
pub(crate) struct Found {
    template: LaunchTemplate,
    versions: Vec<LaunchTemplateVersion>,
}

impl Found {
    fn id(&self) -> &str {
        self.template.launch_template_id().unwrap_or_default()
    }

    /// The number of the version that instances are started from.
    pub(crate) fn version(&self) -> Option<i64> {
        self.template.default_version_number()
    }

    fn settings(&self) -> Option<&ResponseLaunchTemplateData> {
        let default = self.versions.iter().find(|version| version.version_number() == self.version());
        default.and_then(LaunchTemplateVersion::launch_template_data)
    }
}

/// The number of the version that instances are started from, which is as the spec says.
pub(crate) async fn ensure(ec2: &Client, context: &Context, wanted: &Wanted<'_>) -> Result<i64> {
    let Some(found) = find(ec2, context, &wanted.name).await? else {
        create(ec2, context, wanted).await?;
        return Ok(1);
    };
    if !missing_tags(&tags(found.template.tags()), &wanted.template_tags).is_empty() {
        let put = ec2.create_tags().resources(found.id()).set_tags(Some(tag_list(&wanted.template_tags)));
        put.send().await.doing(|| format!("tagging launch template ({})", wanted.name))?;
    }
    let version = if difference(found.settings(), wanted).is_empty() {
        found.version().unwrap_or_default()
    } else {
        let version = match matching(&found, wanted) {
            Some(version) => version,
            None => create_version(ec2, context, found.id(), wanted).await?,
        };
        let put = ec2.modify_launch_template().launch_template_id(found.id());
        let put = put.default_version(version.to_string()).send().await;
        put.doing(|| format!("setting the default version of launch template ({})", wanted.name))?;
        version
    };
    delete_versions(ec2, &found, version).await?;
    Ok(version)
}

/// What [`ensure`] would change.
pub(crate) fn change(found: Option<&Found>, wanted: &Wanted<'_>) -> Option<Change> {
    let Some(found) = found else { return Some(Change::create(TEMPLATE).with("name", &wanted.name)) };
    let mut fields = difference(found.settings(), wanted);
    fields.extend(missing_tags(&tags(found.template.tags()), &wanted.template_tags));
    Change::update(TEMPLATE, fields)
}

/// A version that is as the spec says without being the default: a pass ended before it was made that.
fn matching(found: &Found, wanted: &Wanted<'_>) -> Option<i64> {
    let matches =
        |version: &&LaunchTemplateVersion| difference(version.launch_template_data(), wanted).is_empty();
    found.versions.iter().filter(matches).filter_map(LaunchTemplateVersion::version_number).max()
}

/// The template of this name, which must be ours.
pub(crate) async fn find(ec2: &Client, context: &Context, name: &str) -> Result<Option<Found>> {
    let Some(template) = describe(ec2, name).await? else { return Ok(None) };
    context.owner().check(&format!("launch template ({name})"), &tags(template.tags()))?;
    let id = template.launch_template_id().unwrap_or_default();
    let pages =
        ec2.describe_launch_template_versions().launch_template_id(id).into_paginator().items().send();
    let versions: std::result::Result<Vec<_>, _> = pages.collect().await;
    let versions = versions.doing(|| format!("describing the versions of launch template ({name})"))?;
    Ok(Some(Found { template, versions }))
}

/// The same to delete it; that of somebody else is let alone.
pub(crate) async fn ours(ec2: &Client, context: &Context, name: &str) -> Result<Option<LaunchTemplate>> {
    let found = describe(ec2, name).await?;
    Ok(found.filter(|template| context.owner().address(&tags(template.tags())).is_some()))
}

async fn describe(ec2: &Client, name: &str) -> Result<Option<LaunchTemplate>> {
    let named = Filter::builder().name("launch-template-name").values(name).build();
    let described = ec2.describe_launch_templates().filters(named).send().await;
    let described = described.doing(|| format!("describing launch template ({name})"))?;
    Ok(described.launch_templates.unwrap_or_default().into_iter().next())
}

fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// The image that AWS recommends at the time an instance starts.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html>
fn image(architecture: Architecture) -> String {
    let variant = match architecture {
        Architecture::X86 => "",
        Architecture::Arm => "/arm64",
    };
    format!("resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023{variant}/recommended/image_id")
}

fn public(wanted: &Wanted<'_>) -> bool {
    wanted.instances.placement == Placement::Public
}

fn disk(wanted: &Wanted<'_>) -> i32 {
    i32::try_from(wanted.instances.disk).unwrap_or(i32::MAX)
}

fn difference(found: Option<&ResponseLaunchTemplateData>, wanted: &Wanted<'_>) -> Vec<Field> {
    let empty = ResponseLaunchTemplateData::builder().build();
    let found = found.unwrap_or(&empty);
    let interface = found.network_interfaces().first();
    let groups = interface.map(|interface| interface.groups().join(", ")).unwrap_or_default();
    let public_address =
        interface.and_then(LaunchTemplateInstanceNetworkInterfaceSpecification::associate_public_ip_address);
    let mut volumes = found.block_device_mappings().iter();
    let volume = volumes.find(|volume| volume.device_name() == Some(ROOT)).and_then(|volume| volume.ebs());
    let kind = volume.and_then(|volume| volume.volume_type()).map_or("none", VolumeType::as_str);
    let encrypted = volume.and_then(LaunchTemplateEbsBlockDevice::encrypted) == Some(true);
    let metadata = found.metadata_options();
    let tokens = metadata.and_then(|metadata| metadata.http_tokens()).map_or("optional", |it| it.as_str());
    let hops = metadata
        .and_then(LaunchTemplateInstanceMetadataOptions::http_put_response_hop_limit)
        .unwrap_or_default();
    let profile = found.iam_instance_profile().and_then(|profile| profile.name()).unwrap_or_default();
    let mut fields: Vec<Field> = [
        compare(
            "type",
            found.instance_type().map_or("none", |kind| kind.as_str()),
            wanted.instances.kind.as_str(),
        ),
        compare("image", found.image_id().unwrap_or_default(), &image(wanted.instances.architecture)),
        compare("profile", profile, &wanted.profile),
        compare("securityGroup", groups.as_str(), &wanted.security_group),
        compare("publicAddress", public_address.unwrap_or_default(), public(wanted)),
        compare(
            "disk",
            volume.and_then(LaunchTemplateEbsBlockDevice::volume_size).unwrap_or_default(),
            disk(wanted),
        ),
        compare("volumeType", kind, VolumeType::Gp3.as_str()),
        compare("encrypted", encrypted, true),
        compare("metadata.tokens", tokens, LaunchTemplateHttpTokensState::Required.as_str()),
        compare("metadata.hopLimit", hops, HOPS),
        compare("userData", from_base64(found.user_data().unwrap_or_default()).as_str(), &wanted.user_data),
    ]
    .into_iter()
    .flatten()
    .collect();
    for kind in TAGGED {
        let given = found.tag_specifications().iter().find(|given| given.resource_type() == Some(&kind));
        let given = given.map(|given| tags(given.tags())).unwrap_or_default();
        let named = |field: Field| Field { name: format!("{}.{}", kind.as_str(), field.name), ..field };
        fields.extend(missing_tags(&given, &wanted.tags).into_iter().map(named));
    }
    fields
}

fn data(wanted: &Wanted<'_>) -> RequestLaunchTemplateData {
    let profile =
        LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(&wanted.profile).build();
    let interface = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
        .device_index(0)
        .groups(&wanted.security_group)
        .associate_public_ip_address(public(wanted))
        .delete_on_termination(true)
        .build();
    let volume = LaunchTemplateEbsBlockDeviceRequest::builder()
        .volume_type(VolumeType::Gp3)
        .volume_size(disk(wanted))
        .encrypted(true)
        .delete_on_termination(true)
        .build();
    let root = LaunchTemplateBlockDeviceMappingRequest::builder().device_name(ROOT).ebs(volume).build();
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
        .http_tokens(LaunchTemplateHttpTokensState::Required)
        .http_put_response_hop_limit(HOPS)
        .build();
    let tagged = |kind| {
        let tags = Some(tag_list(&wanted.tags));
        LaunchTemplateTagSpecificationRequest::builder().resource_type(kind).set_tags(tags).build()
    };
    RequestLaunchTemplateData::builder()
        .image_id(image(wanted.instances.architecture))
        .instance_type(wanted.instances.kind.as_str().into())
        .iam_instance_profile(profile)
        .network_interfaces(interface)
        .block_device_mappings(root)
        .metadata_options(metadata)
        .user_data(to_base64(&wanted.user_data))
        .set_tag_specifications(Some(TAGGED.map(tagged).to_vec()))
        .build()
}

/// The name is unique, so that this call can't double it; the token makes a lost answer come again.
async fn create(ec2: &Client, context: &Context, wanted: &Wanted<'_>) -> Result<()> {
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::LaunchTemplate)
        .set_tags(Some(tag_list(&wanted.template_tags)))
        .build();
    let create = ec2
        .create_launch_template()
        .launch_template_name(&wanted.name)
        .launch_template_data(data(wanted))
        .tag_specifications(tags)
        .client_token(context.token(TEMPLATE));
    create.send().await.gone(&[], &["InvalidLaunchTemplateName.AlreadyExistsException"], || {
        format!("creating launch template ({})", wanted.name)
    })
}

/// The token says what is in the version: the same again, after a lost answer, makes no second.
async fn create_version(ec2: &Client, context: &Context, id: &str, wanted: &Wanted<'_>) -> Result<i64> {
    let data = data(wanted);
    let token = context.token(&format!("{TEMPLATE}.{}", digits(&format!("{data:?}"), 8)));
    let create = ec2.create_launch_template_version().launch_template_id(id).launch_template_data(data);
    let doing = || format!("creating a version of launch template ({})", wanted.name);
    let created = create.client_token(token).send().await.doing(doing)?;
    let version = created.launch_template_version.and_then(|version| version.version_number);
    version.ok_or_else(|| Error::Failed(format!("{}: no version answered", doing())))
}

/// Deletes every version but this one. Instances that were started from them stay what they are.
async fn delete_versions(ec2: &Client, found: &Found, kept: i64) -> Result<()> {
    let numbers = found.versions.iter().filter_map(LaunchTemplateVersion::version_number);
    let old: Vec<String> =
        numbers.filter(|number| *number != kept).map(|number| number.to_string()).collect();
    if old.is_empty() {
        return Ok(());
    }
    let delete = ec2.delete_launch_template_versions().launch_template_id(found.id()).set_versions(Some(old));
    let deleted = delete.send().await;
    deleted.doing(|| format!("deleting old versions of launch template ({})", found.id()))?;
    Ok(())
}

pub(crate) async fn delete(ec2: &Client, template: &LaunchTemplate) -> Result<()> {
    let id = template.launch_template_id().unwrap_or_default();
    let deleted = ec2.delete_launch_template().launch_template_id(id).send().await;
    deleted.gone(&["InvalidLaunchTemplateId.NotFound"], &[], || format!("deleting launch template ({id})"))
}
