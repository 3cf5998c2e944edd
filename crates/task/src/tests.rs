use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, CpuArchitecture, NetworkMode as AwsNetworkMode, RuntimePlatform,
    TaskDefinition, Volume,
};
use step::{FileSystemOutput, NetworkOutput, Operation, Outputs, Result};

use super::*;
use crate::task_definition::{Settings, Wanted, difference, settings, wanted};

const ON_FARGATE: &str = "
apiVersion: plinth/v1
name: demo
fileSystems: { files: { accessPoints: { home: { path: /home, owner: '1000:1000' } } } }
secrets: { key: {} }
services:
  app:
    image: nginx
    ports: [80, 8080]
    environment: { A: b }
    mounts: { /files: '${fileSystems.files}', /home: '${fileSystems.files.home}' }
    sidecars:
      proxy:
        image: envoy
        cpu: 64
        memory: 128
        memoryReservation: 96
        command: [run, 'a b']
        environment: { KEY: '${secrets.key}' }
        mounts: { /files: '${fileSystems.files}' }
        check: { command: [CMD, 'true'] }
        before: healthy
      setup: { image: busybox, essential: false, before: completed }
jobs: { seed: { image: seed } }
";

const ON_INSTANCES: &str = "
apiVersion: plinth/v1
name: demo
cluster: { capacity: ec2, instances: { type: t3.small } }
services:
  app:
    image: nginx
    cpu: 128
    memory: 512
    memoryReservation: 256
    ports: [80, 8080]
    hostPorts: { '8080': 80 }
    mounts: { /data: /mnt/data/a-b, /more: /mnt/data/a/b }
    sidecars: { proxy: { image: envoy, memoryReservation: 64, before: started } }
  alone: { image: nginx, memory: 128, networkMode: awsvpc, ports: [80] }
jobs: { seed: { image: seed, memory: 64 } }
";

fn context(spec: &str) -> Context {
    let points = [("home".to_owned(), "fsap-1".to_owned())].into();
    let files = FileSystemOutput { id: "fs-1".to_owned(), access_points: points };
    let network = NetworkOutput {
        private: vec!["subnet-a".to_owned()],
        public: vec!["subnet-b".to_owned()],
        group: "sg".to_owned(),
        ..NetworkOutput::default()
    };
    let secret = step::SecretOutput { arn: "arn:secret".to_owned(), renewed: false };
    let outputs = Outputs {
        network: Some(network),
        file_systems: [("files".to_owned(), files)].into(),
        secrets: [("key".to_owned(), secret)].into(),
        ..Outputs::default()
    };
    step::test::context(Operation::Ensure, spec::parse(spec, None).expect("a spec"), outputs)
}

fn of_service(context: &Context, key: &str) -> Wanted {
    wanted(context, &Task::of_service(key, &context.spec.services[key])).expect("what is wanted")
}

/// The revision as AWS describes it when it was registered as wanted. In awsvpc mode it repeats the ports.
fn registered(wanted: &Wanted) -> TaskDefinition {
    let Settings { containers, .. } = &wanted.settings;
    let containers: Result<Vec<ContainerDefinition>> =
        containers.iter().map(|(name, container)| container::definition(name, container)).collect();
    let mut containers = containers.expect("containers");
    for container in &mut containers {
        for port in container.port_mappings.iter_mut().flatten() {
            let repeated =
                if wanted.settings.network_mode == "awsvpc" { port.container_port } else { Some(0) };
            port.host_port = port.host_port.or(repeated);
        }
    }
    TaskDefinition::builder()
        .requires_compatibilities(wanted.settings.capacity.as_str().into())
        .network_mode(wanted.settings.network_mode.as_str().into())
        .set_cpu(wanted.settings.cpu.clone())
        .set_memory(wanted.settings.memory.clone())
        .runtime_platform(RuntimePlatform::builder().cpu_architecture(CpuArchitecture::X8664).build())
        .execution_role_arn(&wanted.settings.execution_role)
        .set_container_definitions(Some(containers))
        .set_volumes(Some(volumes(wanted)))
        .build()
}

fn volumes(wanted: &Wanted) -> Vec<Volume> {
    container::volumes(wanted.settings.containers.values()).expect("volumes")
}

fn container<'a>(found: &'a TaskDefinition, name: &str) -> &'a ContainerDefinition {
    found.container_definitions().iter().find(|found| found.name() == Some(name)).expect("a container")
}

/// The names of the fields in which a revision differs after it was changed like this.
fn changed(wanted: &Wanted, change: impl FnOnce(&mut TaskDefinition)) -> Vec<String> {
    let mut found = registered(wanted);
    change(&mut found);
    difference(&settings(&found), wanted).into_iter().map(|field| field.name).collect()
}

fn change_of(
    name: &'static str,
    change: impl FnOnce(&mut ContainerDefinition),
) -> impl FnOnce(&mut TaskDefinition) {
    move |found| {
        let containers = found.container_definitions.iter_mut().flatten();
        let mut containers = containers.filter(|found| found.name() == Some(name));
        change(containers.next().expect("a container"));
    }
}

#[test]
fn what_is_registered_as_wanted_does_not_differ() {
    for (spec, key) in [(ON_FARGATE, "app"), (ON_INSTANCES, "app"), (ON_INSTANCES, "alone")] {
        assert_eq!(changed(&of_service(&context(spec), key), |_| ()), Vec::<String>::new(), "{key}");
    }
}

#[test]
fn on_fargate_the_task_has_a_size_and_of_its_containers_the_sidecars_alone() {
    let wanted = of_service(&context(ON_FARGATE), "app");
    let found = registered(&wanted);
    assert_eq!(found.requires_compatibilities(), [Compatibility::Fargate]);
    assert_eq!(found.network_mode(), Some(&AwsNetworkMode::Awsvpc));
    assert_eq!((found.cpu(), found.memory()), (Some("256"), Some("512")));
    let own = container(&found, "app");
    assert_eq!((own.cpu(), own.memory(), own.memory_reservation()), (0, None, None));
    let proxy = container(&found, "proxy");
    assert_eq!((proxy.cpu(), proxy.memory(), proxy.memory_reservation()), (64, Some(128), Some(96)));
}

#[test]
fn a_sidecar_is_waited_for_as_it_says_and_writes_to_the_same_group() {
    let found = registered(&of_service(&context(ON_FARGATE), "app"));
    let own = container(&found, "app");
    let waits: Vec<_> =
        own.depends_on().iter().map(|found| (found.container_name(), found.condition().as_str())).collect();
    assert_eq!(waits, [("proxy", "HEALTHY"), ("setup", "SUCCESS")]);
    let proxy = container(&found, "proxy");
    let logs = proxy.log_configuration().and_then(|logs| logs.options()).expect("options");
    assert_eq!(logs["awslogs-group"], "/plinth/demo/app");
    assert_eq!(logs["awslogs-stream-prefix"], "demo-app");
    assert_eq!(proxy.secrets()[0].value_from(), "arn:secret");
    assert_eq!((own.essential(), container(&found, "setup").essential()), (Some(true), Some(false)));
    assert!(proxy.depends_on().is_empty() && proxy.health_check().is_some());
}

#[test]
fn a_file_system_that_two_containers_mount_is_one_volume() {
    let volumes = volumes(&of_service(&context(ON_FARGATE), "app"));
    let names: Vec<_> = volumes.iter().filter_map(Volume::name).collect();
    assert_eq!(names, ["files", "files_home"]);
}

#[test]
fn on_instances_each_container_has_its_size_and_the_task_none() {
    let found = registered(&of_service(&context(ON_INSTANCES), "app"));
    assert_eq!(found.requires_compatibilities(), [Compatibility::Ec2]);
    assert_eq!(found.network_mode(), Some(&AwsNetworkMode::Bridge));
    assert_eq!((found.cpu(), found.memory()), (None, None));
    let own = container(&found, "app");
    assert_eq!((own.cpu(), own.memory(), own.memory_reservation()), (128, Some(512), Some(256)));
    assert_eq!(container(&found, "proxy").memory_reservation(), Some(64));
}

#[test]
fn in_bridge_mode_a_port_of_the_instance_is_any_or_the_one_that_is_chosen() {
    let context = context(ON_INSTANCES);
    let host = |key: &str| -> Vec<_> {
        let wanted = of_service(&context, key);
        let own = container::definition(key, &wanted.settings.containers[key]).expect("a container");
        own.port_mappings().iter().map(|port| (port.container_port(), port.host_port())).collect()
    };
    assert_eq!(host("app"), [(Some(80), None), (Some(8080), Some(80))]);
    assert_eq!(host("alone"), [(Some(80), None)]);
}

#[test]
fn directories_of_the_instance_are_volumes_whose_names_differ_and_are_plain() {
    let volumes = volumes(&of_service(&context(ON_INSTANCES), "app"));
    let paths: Vec<_> = volumes.iter().filter_map(|found| found.host()?.source_path()).collect();
    assert_eq!(paths.len(), 2);
    let names: std::collections::BTreeSet<_> = volumes.iter().filter_map(Volume::name).collect();
    assert_eq!(names.len(), 2);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    assert!(names.iter().all(|name| name.chars().all(plain)), "{names:?}");
}

#[test]
fn each_setting_that_drifted_is_one_field() {
    let wanted = of_service(&context(ON_FARGATE), "app");
    let own = |change: fn(&mut ContainerDefinition)| changed(&wanted, change_of("app", change));
    assert_eq!(own(|found| found.image = Some("nginx:1".to_owned())), ["image"]);
    assert_eq!(own(|found| found.memory = Some(6)), ["memory"]);
    assert_eq!(own(|found| found.environment = None), ["environment.A"]);
    assert_eq!(own(|found| found.depends_on = None), ["dependsOn.proxy", "dependsOn.setup"]);
    assert_eq!(own(|found| found.mount_points = None), ["mounts./files", "mounts./home"]);
    assert_eq!(own(|found| found.port_mappings = None), ["ports"]);
    let proxy = |change: fn(&mut ContainerDefinition)| changed(&wanted, change_of("proxy", change));
    assert_eq!(proxy(|found| found.image = Some("envoy:1".to_owned())), ["sidecars.proxy.image"]);
    assert_eq!(proxy(|found| found.cpu = 65), ["sidecars.proxy.cpu"]);
    assert_eq!(proxy(|found| found.memory_reservation = None), ["sidecars.proxy.memoryReservation"]);
    assert_eq!(proxy(|found| found.essential = Some(false)), ["sidecars.proxy.essential"]);
    assert_eq!(proxy(|found| found.secrets = None), ["sidecars.proxy.secrets.KEY"]);
    assert_eq!(proxy(|found| found.health_check = None), ["sidecars.proxy.check"]);
    let words = vec!["run".to_owned(), "a".to_owned(), "b".to_owned()];
    let split = changed(&wanted, change_of("proxy", |found| found.command = Some(words)));
    assert_eq!(split, ["sidecars.proxy.command"]);
    assert_eq!(changed(&wanted, |found| found.cpu = Some("512".to_owned())), ["cpu"]);
    assert_eq!(
        changed(&wanted, |found| found.network_mode = Some(AwsNetworkMode::Host)),
        ["networkMode", "ports"]
    );
    assert_eq!(changed(&wanted, |found| found.requires_compatibilities = None), ["capacity"]);
    assert_eq!(changed(&wanted, |found| found.runtime_platform = None), ["architecture"]);
}

#[test]
fn a_port_of_the_instance_that_drifted_is_a_field() {
    let wanted = of_service(&context(ON_INSTANCES), "app");
    let other = changed(
        &wanted,
        change_of("app", |found| {
            found.port_mappings.as_mut().expect("ports")[1].host_port = Some(81);
        }),
    );
    assert_eq!(other, ["ports"]);
    assert_eq!(changed(&wanted, |found| found.volumes = None), ["mounts./data", "mounts./more"]);
}

#[test]
fn a_revision_with_other_containers_differs() {
    let wanted = of_service(&context(ON_FARGATE), "app");
    assert_eq!(
        changed(&wanted, |found| found.container_definitions = None),
        ["container", "sidecars.proxy", "sidecars.setup"]
    );
    let more = ContainerDefinition::builder().name("more").image("x").build();
    let with_more = changed(&wanted, |found| found.container_definitions.as_mut().expect("some").push(more));
    assert_eq!(with_more, ["sidecars.more"]);
}

#[test]
fn another_capacity_is_another_revision() {
    let fargate = of_service(&context(ON_FARGATE), "app");
    let instances = of_service(&context(ON_INSTANCES), "app");
    let fields = difference(&settings(&registered(&fargate)), &instances);
    assert!(fields.iter().any(|field| field.name == "capacity"), "{fields:?}");
}

#[test]
fn tasks_on_instances_are_placed_by_their_provider_and_never_get_a_public_address() {
    let mut context = context(ON_INSTANCES);
    let of =
        |context: &Context, mode| Place::of(context, spec::Placement::Private, Some(mode)).expect("a place");
    let place = of(&context, NetworkMode::Bridge);
    assert_eq!((place.provider.as_deref(), &place.network), (Some("plinth-demo"), &None));
    assert_eq!(place.network().expect("nothing"), None);
    let network = of(&context, NetworkMode::Awsvpc).network().expect("a network").expect("some");
    let awsvpc = network.awsvpc_configuration().expect("a configuration");
    assert_eq!((awsvpc.assign_public_ip(), awsvpc.security_groups()), (None, &["sg".to_owned()][..]));

    // On somebody else's cluster its own strategy holds.
    let cluster = context.spec.cluster.as_mut().expect("a cluster");
    (cluster.existing, cluster.name) = (true, Some("theirs".to_owned()));
    assert_eq!(of(&context, NetworkMode::Bridge).strategy().expect("nothing"), None);
    let cluster = context.spec.cluster.as_mut().expect("a cluster");
    cluster.capacity = Capacity::FargateSpot;
    let strategy = of(&context, NetworkMode::Awsvpc).strategy().expect("a strategy").expect("some");
    assert_eq!(strategy[0].capacity_provider(), "FARGATE_SPOT");
}

#[test]
fn tasks_on_fargate_are_told_whether_they_get_a_public_address() {
    let context = context(ON_FARGATE);
    for (placement, told) in [(spec::Placement::Private, "DISABLED"), (spec::Placement::Public, "ENABLED")] {
        let place = Place::of(&context, placement, Some(NetworkMode::Awsvpc)).expect("a place");
        let network = place.network().expect("a network").expect("some");
        let public = network.awsvpc_configuration().and_then(|found| found.assign_public_ip()).cloned();
        assert_eq!(public.expect("said").as_str(), told);
    }
}

#[test]
fn a_job_has_one_container_and_no_ports() {
    for spec in [ON_FARGATE, ON_INSTANCES] {
        let context = context(spec);
        let wanted =
            wanted(&context, &Task::of_job("seed", &context.spec.jobs["seed"])).expect("what is wanted");
        let found = registered(&wanted);
        assert_eq!(found.container_definitions().len(), 1);
        assert!(container(&found, "seed").port_mappings().is_empty());
        assert_eq!(changed(&wanted, |_| ()), Vec::<String>::new());
    }
}
