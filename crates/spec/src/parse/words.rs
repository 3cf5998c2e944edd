//! What people write who know other tools, or know YAML half, and what they are told.

use rstest::rstest;

use super::{parse, parse_bytes};

/// The faults of a text, each as `line:column: path: message`.
fn told(text: &str) -> String {
    parse(text, None).expect_err("faults").to_string()
}

/// A spec with a service `web` that has this.
fn service(fields: &str) -> String {
    format!("apiVersion: plinth/v1\nname: demo\nservices:\n  web: {{ image: nginx, {fields} }}\n")
}

/// A spec that has this below its name.
fn spec(rest: &str) -> String {
    format!("apiVersion: plinth/v1\nname: demo\n{rest}")
}

#[rstest]
#[case(
    "count: 2",
    "services.web.count: there is no field \"count\" here: `desired` says how many tasks run: `desired: 2`"
)]
#[case("replicas: 3", "`desired: 3`")]
#[case("desiredCount: 3", "`desired: 3`")]
#[case("env: { A: b }", "there is no field \"env\" here: write `environment: { NAME: value }`")]
#[case("variables: { A: b }", "write `environment: { NAME: value }`")]
#[case("depends_on: [db]", "`after` says what comes first: `after: [db]`")]
#[case("dependsOn: [db]", "`after: [db]`")]
#[case("healthcheck: { test: x }", "`check: { command: [CMD-SHELL")]
#[case("livenessProbe: {}", "`check: { command: [CMD-SHELL")]
#[case("volumes: [data:/data]", "`mounts: { /data: \"${fileSystems.data}\" }`")]
#[case("secrets: { A: b }", "`PASSWORD: ${secrets.db.password}`")]
#[case("port: 8080", "write `ports: [8080]`")]
#[case("containerPort: 80", "write `ports: [80]`")]
#[case("build: .", "an image is built and pushed elsewhere")]
#[case("restart: always", "ECS starts a task again that has ended; leave it out")]
#[case("container_name: app", "leave it out, or write `name: app`")]
#[case("networks: [back]", "reach each other at `${services.x.host}`")]
#[case("autoscaling: {}", "`scale: { min: 2, max: 10, cpu: 60 }`")]
#[case("taskRoleArn: x", "write `role: { allow:")]
#[case("env_file: .env", "a spec reads no other files")]
#[case("memory: 512m", "services.web.memory: write 512: memory is a number of MiB")]
#[case("memory: 2Gi", "write 2048: memory is a number of MiB")]
#[case("cpu: 0.25", "write 256: 1024 units are one vCPU")]
#[case("cpu: 500m", "write 512: 1024 units are one vCPU")]
#[case("memory: '512'", "write 512 without quotes")]
#[case("desired: 1e3", "4:33: services.web.desired: write 1000, not 1e3")]
#[case("desired: 017", "write 17, not 017")]
#[case("cpu: 99999999999", "99999999999 is too large; write 196608 or less")]
#[case("desired: 99999999999999999999", "99999999999999999999 is too large; write")]
#[case("desired: -1", "-1 is too small; write 0 or more")]
#[case("desired: many", "write a number, not \"many\"")]
#[case("ports: 80", "services.web.ports: write a list: ports: [80]")]
#[case("command: npm start", "write a list: command: [npm, start]")]
#[case("exec: yes", "write true, not \"yes\"")]
#[case("exec: 'true'", "write true without quotes")]
#[case("health: /healthz", "health takes fields: health: { path: /healthz }")]
#[case("gracePeriod: 60", "services.web.gracePeriod: write a length of time: 60s")]
#[case("gracePeriod: soon", "\"soon\" is no length of time; write a number and s, m, h or d, such as 7d")]
#[case("environment: [A=b]", "environment is a map: write \"A: b\", not a list")]
#[case("environment: [{ name: A, value: b }]", "environment is a map: write \"A: b\", not a list")]
#[case("environment: { A: }", "nothing is written here; write text, or '' for an empty one")]
#[case("environment: { A: [b] }", "write text, or '' for an empty one, not a list")]
#[case("image: {repositories.app}", "\"image\" is written twice")]
#[case("placemnt: public", "there is no field \"placemnt\" here; did you mean \"placement\"?")]
#[case("wibble: 1", "its fields are name, image, imageFrom and")]
fn a_word_of_another_tool_leads_to_ours(#[case] fields: &str, #[case] expected: &str) {
    let told = told(&service(fields));
    assert!(told.contains(expected), "{told}");
    assert!(!told.contains("1:1:"), "{told}");
}

#[rstest]
#[case(
    "services:\n  - name: web\n    image: nginx\n",
    "services is a map: write \"web:\" with its fields below, not \"- name: web\""
)]
#[case("services: [web]\n", "services is a map: write \"web:\"")]
#[case(
    "databases: { main: { engine: postgres, instanceClass: db.t3.micro, credentials: x } }\n",
    "write `instance: db.t3.micro`"
)]
#[case(
    "databases: { main: { engine: postgres, username: app } }\n",
    "write `credentials: \"${secrets.db}\"`"
)]
#[case(
    "databases: { main: { engine: postgres, instance: db.t4g.micro, credentials: x, database: my-db } }\n",
    "\"my-db\" doesn't fit; write at most 63 letters, digits and _, with a letter first and no hyphen: Name of the database"
)]
#[case(
    "loadBalancers: { a: { type: application, internal: true } }\n",
    "write `scheme: internal`, or `internet-facing`"
)]
#[case("buckets: { a: { versioning: true } }\n", "write `versioned: true`")]
#[case("volumes: { data: {} }\n", "write `fileSystems: { data: {} }`")]
#[case("vpc: {}\n", "write `network: { cidr: 10.0.0.0/16 }`")]
#[case("Services: {}\n", "did you mean \"services\"?")]
#[case(
    "services: { web: { image: nginx } }\nservices: { api: { image: nginx } }\n",
    "4:1: services: \"services\" is written twice, first in line 3; keep one"
)]
#[case(
    "services:\n  web: { image: nginx }\n  web: { image: httpd }\n",
    "5:3: services.web: \"web\" is written twice, first in line 4; keep one"
)]
#[case(
    "---\napiVersion: plinth/v1\nname: other\n",
    "3:1: spec: one file describes one environment: move what follows --- to a file of its own"
)]
#[case("services:\n\tweb: { image: nginx }\n", "indent with spaces: YAML takes no tabs")]
#[case(
    "services: { web: { image: nginx, environment: { URL: ${services.api.host} } } }\n",
    "3:54: services.web.environment: quote it: \"${services.api.host}\""
)]
#[case("services: { web: { image: nginx, command: [${environment}] } }\n", "quote it: \"${environment}\"")]
#[case(": web\n", "a field has no name; write one before the colon")]
#[case("? [a, b]\n: c\n", "a field's name is text, not a list")]
#[case("services: { web: { image: @nginx } }\n", "quote it: a value can't begin with @")]
#[case("checks: [*.example.com]\n", "quote it: \"*.example.com\"; a plain * begins an alias")]
#[case(
    "roles: { a: { assumedBy: [ecs-tasks.amazonaws.com], allow: [{ actions: [*] }] } }\n",
    "quote it: \"*\""
)]
#[case(
    "services: { web: { image: !Ref Image } }\n",
    "!Ref is CloudFormation's; a spec refers to its parts with ${…}"
)]
#[case("services: { web: { image: !custom x } }\n", "!custom is a YAML tag, which a spec doesn't use")]
#[case("key: \"unclosed\n", "a quote that opens above isn't closed")]
#[case("key: { a: 1\n", "the { is never closed")]
#[case("key: a: b\n", "a second `: ` stands in this line; quote the value")]
#[case("services:\n  web:\n    image: nginx\n   cpu: 256\n", "this doesn't line up with what is above")]
#[case("services: &a { web: *a }\n", "an alias can't stand inside what it stands for")]
#[case("services:\n", "nothing is written here; write `services: {}`, or leave the line out")]
#[case("network: ~\n", "nothing is written here; write `network: {}`, or leave the line out")]
#[case("tags: { Team: }\n", "nothing is written here; write text, or '' for an empty one")]
#[case("region: 'x\u{1b}[31m'\n", "the control character U+001B can't stand here")]
#[case("region: \"x\\e[31m\"\n", "x\\u001b[31m")]
#[case("region: \"x\\u202Ey\"\n", "x\\u202ey")]
fn what_is_written_wrongly_is_told_with_what_to_write(#[case] rest: &str, #[case] expected: &str) {
    let told = told(&spec(rest));
    assert!(told.contains(expected), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
    assert!(!told.contains("1:1:"), "{told}");
}

#[rstest]
#[case("services: { web: { image: nginx, environment: { A: 'x ${nothing.a} ${also.b} ${secrets.c' } } }\n", &["\"nothing\" is nothing to refer to", "\"also\" is nothing to refer to", "begins a reference that no } ends; write $${"])]
#[case("services: { web: { image: nginx, environment: { A: '${HOME}' } } }\n", &["write $${HOME} if this is to be text"])]
#[case("services: { web: { image: nginx, environment: { A: 'x${secrets.a.password}' } } }\nsecrets: { a: { generate: { username: b } } }\n", &["make the whole text a secret, `secrets: { a-url: { compose: \"…${secrets.a.password}…\" } }`"])]
#[case("services: { web: { image: nginx, environment: { A: '${secrets.a}${services.b.host}' } } }\n", &["the spec has no secrets", "there is no \"b\" in services"])]
fn all_wrong_references_of_a_text_are_told(#[case] rest: &str, #[case] expected: &[&str]) {
    let told = told(&spec(rest));
    for expected in expected {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

#[test]
fn faults_of_all_three_layers_are_told_at_once() {
    let told = told(&spec(
        "region: europe
services:
  web:
    image: '${repositories.ap}:1'
    cpu: many
    replicas: 2
    environment: { 1A: x, B: '${nothing.x}' }
  web: {}
repositories: { app: {} }
loadBalancers:
  a: { type: application, scheme: internal, listeners: { http: { port: 80, default: '${services.web}' } } }
databases: { main: { engine: mysql, instance: db.t4g.micro, storage: 5 } }
",
    ));
    for expected in [
        "3:9: region: \"europe\" is no AWS region",
        "6:12: services.web.image: ${repositories.ap}: there is no \"ap\" in repositories",
        "7:10: services.web.cpu: write a number, not \"many\"",
        "8:5: services.web.replicas: there is no field \"replicas\" here",
        "services.web.environment.1A: \"1A\" can't be a variable's name",
        "services.web.environment.B: ${nothing.x}: \"nothing\" is nothing to refer to",
        "10:3: services.web: \"web\" is written twice",
        "databases.main.storage: RDS gives 20 to 65536 GiB of storage, not 5",
        "databases.main: `credentials` is missing",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

#[test]
fn what_depends_on_what_is_broken_is_not_told() {
    let told = told(&spec(
        "services:
  web: { image: nginx, ports: [eighty], health: { path: / } }
  api: 5
loadBalancers:
  a: { type: application, scheme: internal, listeners: { http: { port: 80, default: '${services.web}' } } }
databases: { main: { engine: aurora-mysql, serverless: big, credentials: '${secrets.db}' } }
secrets: { db: { generate: { usrname: app } } }
",
    ));
    assert_eq!(told.lines().count(), 4, "{told}");
}

#[rstest]
#[case::compose(
    "version: '3'\nservices:\n  web:\n    build: .\n    ports: ['80:80']\n    depends_on: [db]\nvolumes: { data: {} }\n",
    &["this looks like a compose file", "an image is built and pushed elsewhere", "`after: [db]`", "`fileSystems: { data: {} }`", "1:1: spec: `name` is missing"]
)]
#[case::copilot(
    "name: api\ntype: Load Balanced Web Service\nimage: { build: ./Dockerfile, port: 80 }\nhttp: { path: / }\ncount: 1\n",
    &["this is a Copilot manifest", "`count` is `desired`"]
)]
#[case::kubernetes(
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\nspec: { replicas: 2 }\n",
    &["this is Deployment of Kubernetes", "`replicas` are `desired`"]
)]
#[case::task_definition(
    r#"{"family": "web", "containerDefinitions": [{"name": "web", "image": "nginx"}]}"#,
    &["this is an ECS task definition", "`portMappings` are `ports: [80]`"]
)]
#[case::cloud_formation(
    "AWSTemplateFormatVersion: '2010-09-09'\nResources: { Web: { Type: AWS::ECS::Service } }\n",
    &["this is a CloudFormation template", "AWS::RDS::DBInstance is `databases`"]
)]
#[case::terraform("resource \"aws_ecs_service\" \"web\" {\n  name = \"web\"\n}\n", &["this is Terraform's language"])]
fn a_file_of_another_tool_is_known(#[case] text: &str, #[case] expected: &[&str]) {
    let told = told(text);
    for expected in expected {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

#[rstest]
#[case(
    b"apiVersion: plinth/v1\nname: caf\xe9\n",
    "2:10: spec: the byte 0xe9 isn't UTF-8; save the file as UTF-8"
)]
#[case(b"\xff\xfea\0p\0", "the file is UTF-16; save it as UTF-8")]
fn bytes_that_are_not_utf_8_are_a_fault_with_a_place(#[case] bytes: &[u8], #[case] expected: &str) {
    let told = parse_bytes(bytes, None).expect_err("a fault").to_string();
    assert!(told.contains(expected), "{told}");
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    assert!(parse("\u{feff}apiVersion: plinth/v1\nname: demo\n", None).is_ok());
}
