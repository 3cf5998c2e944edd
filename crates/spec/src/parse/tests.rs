use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// The faults of a spec as `line:column path: message`.
fn faults(text: &str) -> Vec<String> {
    let faults = parse(text, None).expect_err("faults").0;
    let line = |fault: &Fault| format!("{}:{} {}: {}", fault.line, fault.column, fault.path, fault.message);
    faults.iter().map(line).collect()
}

/// A spec that has this below its name.
fn spec(rest: &str) -> String {
    format!("apiVersion: plinth/v1\nname: demo\n{rest}")
}

#[test]
fn every_fault_of_form_is_told_at_once_with_its_place() {
    let text = "
apiVersion: plinth/v2
name: Demo
clutser: {}
services:
  app:
    cpu: many
    memory: 512
    enviroment: {}
    ports: [80, x]
    placement: everywhere
    environment: { A: '${secrets.x', B: '${nothing.x}' }
  other:
    image: '${repositories.x}:1'
    role: { allow: [{ action: s3:Get }, 5] }
secrets:
  key: { recovery: soon, generate: { length: 4 } }
cluster:
";
    insta::assert_snapshot!(faults(text).join("\n"));
}

#[test]
fn every_fault_of_meaning_is_told_at_once_with_its_place() {
    let text = "
apiVersion: plinth/v1
name: demo
region: europe
network: { cidr: 10.0.0.0/16, public: [10.0.0.0/24], private: [10.1.0.0/24, 10.0.0.128/25], endpoints: [s3, s3] }
secrets:
  Key: {}
  one: { name: demo-two }
  two: {}
  made: { generate: {} }
roles:
  app-task: { assumedBy: [lambda], allow: [s3GetObject], policies: [ReadOnly] }
repositories:
  app: { untagged: { expire: 12h } }
logs: { retention: 8d }
loadBalancers:
  inner:
    type: application
    scheme: internal
    listeners:
      a: { port: 80, default: '${services.app.81}' }
      b: { port: 80, protocol: TCP, default: '${services.ap}' }
services:
  app:
    image: '${repositories.apq}:1'
    cpu: 256
    memory: 4096
    ports: [80, 80]
    command: ['${secrets.one}']
    environment:
      1A: x
      B: 'x${secrets.one}'
      C: '${secrets.made.password}'
      D: '${apis.qa.url}'
      E: '${services.app}'
    role: { allow: [{ actions: [s3:GetObject], resources: ['${network.vpc}'] }] }
apis:
  qa:
    link: ${loadBalancers.inner}
    routes: { 'GET /a/{b}': {}, 'GET /a/{c}': {}, FETCH /: {}, GET x: {} }
";
    insta::assert_snapshot!(faults(text).join("\n"));
}

#[rstest]
#[case("apiVersion: plinth/v1\nname: [\n", "unclosed bracket")]
#[case("", "nothing is written here")]
#[case("- a\n- b\n", "write fields with values")]
#[case("apiVersion: plinth/v1\nname: demo\nname: other\n", "duplicate")]
#[case("apiVersion: plinth/v1\nname: demo\n---\napiVersion: plinth/v1\nname: other\n", "multiple")]
fn a_file_that_is_no_spec_is_refused(#[case] text: &str, #[case] expected: &str) {
    let found = faults(text).join("\n");
    assert!(found.contains(expected), "{found}");
}

#[test]
fn a_spec_by_another_name_than_its_object_is_refused() {
    let fault =
        parse("{ apiVersion: plinth/v1, name: other }", Some("demo")).expect_err("a fault").0.remove(0);
    assert_eq!((fault.path.as_str(), fault.line, fault.column), ("name", 1, 32));
}

#[test]
fn a_spec_of_two_megabytes_is_refused() {
    let fault = parse(&" ".repeat(2 * SIZE_LIMIT), None).expect_err("a fault").0.remove(0);
    assert!(fault.message.contains("1048576"), "{fault:?}");
}

#[test]
fn a_fault_is_shown_with_its_line() {
    let text = spec("services:\n  app: { image: nginx, cpu: 300 }\n");
    let faults = parse(&text, None).expect_err("faults");
    insta::assert_snapshot!(faults.render("demo.yaml", &text));
}

#[rstest]
#[case::network_and_cluster("services: { app: { image: nginx } }")]
#[case::balancer("loadBalancers: { a: { type: network, scheme: internal } }")]
#[case::adopted("network: { vpc: vpc-0a, private: [subnet-0a] }\nservices: { app: { image: nginx } }")]
fn a_normalised_spec_says_the_same_once_more(#[case] rest: &str) {
    let once = parse(&spec(rest), None).expect("a spec");
    let text = serde_json::to_string(&once).expect("JSON");
    assert_eq!(parse(&text, None).expect("a spec"), once);
}

#[test]
fn what_needs_a_network_and_a_cluster_gets_them() {
    let spec = parse(&spec("services: { app: { image: nginx } }"), None).expect("a spec");
    assert_eq!(spec.network.expect("a network").private.len(), 2);
    assert!(spec.cluster.is_some());
}

#[rstest]
#[case("network: { vpc: vpc-0a, private: [10.0.0.0/24] }", "no subnet's id")]
#[case("network: { vpc: vpc-0a, cidr: 10.0.0.0/16, private: [subnet-0a] }", "`cidr` is for a new VPC")]
#[case("network: { vpc: vpc-0a }", "name the subnets")]
#[case("network: { cidr: 10.0.0.1/16 }", "write 10.0.0.0/16")]
#[case("network: { cidr: 10.0.0.0/8 }", "from /16 to /28")]
#[case("network: { cidr: 10.0.0.0/28 }", "too small to be cut")]
#[case("network: { cidr: ten }", "no range of addresses")]
#[case("network: { private: [10.0.0.0/24] }", "stands in a public subnet")]
#[case("network: { endpoints: [com.amazonaws.eu.s3] }", "what follows com.amazonaws")]
#[case("secrets: { a: { recovery: 3d } }", "7d to 30d")]
#[case("tags: { 'aws:x': y }", "isn't yours to use")]
#[case("services: { app: { image: a, cpu: 300 } }", "no size of 300")]
#[case("services: { app: { image: a, memory: 1536 } }", "the nearest are 1024 and 2048")]
#[case("services: { app: { image: a, desired: 9000 } }", "at most 5000")]
#[case(
    "network: { public: [10.0.0.0/24], cidr: 10.0.0.0/16 }\nservices: { app: { image: a } }",
    "network.private has none"
)]
#[case(
    "loadBalancers: { x: { type: application, scheme: internal } }\nnetwork: { zones: 1 }",
    "needs 2 private subnets"
)]
#[case("loadBalancers: { x: { name: internal-x, type: network, scheme: internal } }", "begin with internal-")]
#[case(
    "services: { a: { image: x, logs: { group: /g, retention: 1d } }, b: { image: x, logs: { group: /g } } }",
    "differ in `retention`"
)]
#[case("apis: { qa: { link: 'nlb', routes: { GET /: {} } } }", "write the load balancer that answers")]
#[case(
    "apis: { qa: { link: '${loadBalancers.x}', routes: { GET /: { listener: c } } } }
loadBalancers: { x: { type: network, scheme: internal, listeners: { a: { port: 1, default: '${services.s}' } } } }
services: { s: { image: x, ports: [1] } }",
    "has no listener \"c\""
)]
#[case("name: 'x${region}'", "duplicate")]
#[case("region: '${region}'", "a reference can't stand here")]
fn a_fault_of_meaning_is_told_with_its_remedy(#[case] rest: &str, #[case] expected: &str) {
    let found = faults(&spec(rest)).join("\n");
    assert!(found.contains(expected), "{found}");
}

proptest! {
    #[test]
    fn whatever_is_written_has_an_answer_with_a_place_in_it(text in "\\PC{0,80}") {
        if let Err(faults) = parse(&text, None) {
            prop_assert!(!faults.0.is_empty());
            for fault in faults.0 {
                prop_assert!(fault.line >= 1 && fault.column >= 1);
                prop_assert!((fault.line as usize) <= text.lines().count() + 2, "{fault:?}");
            }
        }
    }

    #[test]
    fn a_field_of_any_name_and_value_has_an_answer(
        name in "[a-zA-Z.${}]{1,12}",
        value in prop_oneof!["[0-9]{1,4}", "'[a-z$}{.]{0,9}'", Just("[]".to_owned()), Just("{}".to_owned())]
    ) {
        let text = spec(&format!("services: {{ app: {{ image: x, '{name}': {value} }} }}"));
        let _ = parse(&text, None);
    }
}
