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
role: admin
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
#[case("apiVersion: plinth/v1\nname: [\n", "the [ is never closed")]
#[case("", "nothing is written here")]
#[case("- a\n- b\n", "a spec is fields with values, not a list")]
#[case(
    "apiVersion: plinth/v1\nname: demo\nname: other\n",
    "\"name\" is written twice, first in line 2; keep one"
)]
#[case(
    "apiVersion: plinth/v1\nname: demo\n---\napiVersion: plinth/v1\nname: other\n",
    "one file describes one environment"
)]
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
#[case::instances(
    "cluster: { capacity: ec2, instances: { type: t3.small } }\nservices: { a: { image: b, memory: 64 } }"
)]
#[case::check("checks: ['https://example.com', { url: 'http://example.com', status: 301 }]")]
#[case::balancer("loadBalancers: { a: { type: network, scheme: internal } }")]
#[case::adopted(
    "network: { vpc: vpc-0a1b2c3d, private: [subnet-0a1b2c3d] }\nservices: { app: { image: nginx } }"
)]
fn a_normalised_spec_says_the_same_once_more(#[case] rest: &str) {
    let once = parse(&spec(rest), None).expect("a spec");
    let text = serde_json::to_string(&once).expect("JSON");
    assert_eq!(parse(&text, None).expect("a spec"), once);
}

#[rstest]
#[case("reportportal")]
#[case("windingtree")]
#[case("datavault")]
#[case("question-answering")]
#[case("shared-cluster")]
#[case("hello")]
fn the_examples_have_no_faults(#[case] example: &str) {
    let path = format!("{}/../../examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("an example");
    parse(&text, None).unwrap_or_else(|faults| panic!("{}", faults.render(example, &text)));
}

#[test]
fn what_needs_a_network_and_a_cluster_gets_them() {
    let spec = parse(&spec("services: { app: { image: nginx } }"), None).expect("a spec");
    assert_eq!(spec.network.expect("a network").private.len(), 2);
    assert!(spec.cluster.is_some());
}

#[rstest]
#[case("network: { vpc: vpc-0a1b2c3d, private: [10.0.0.0/24] }", "no subnet's id")]
#[case(
    "network: { vpc: vpc-0a1b2c3d, cidr: 10.0.0.0/16, private: [subnet-0a1b2c3d] }",
    "`cidr` is for a new VPC"
)]
#[case("network: { vpc: vpc-0a1b2c3d }", "name the subnets")]
#[case("network: { cidr: 10.0.0.1/16 }", "write 10.0.0.0/16")]
#[case("network: { cidr: 10.0.0.0/8 }", "from /16 to /28")]
#[case("network: { cidr: 10.0.0.0/28 }", "too small to be cut")]
#[case("network: { cidr: ten }", "no range of addresses")]
#[case("network: { private: [10.0.0.0/24] }", "stands in a public subnet")]
#[case("network: { endpoints: [com.amazonaws.eu.s3] }", "what follows com.amazonaws")]
#[case(
    "loadBalancers: { x: { type: network, scheme: internal, listeners: { a: { port: 1, securityPolicy: ELBSecurityPolicy-A, default: '${services.s}' } } } }
services: { s: { image: a, ports: [1] } }",
    "only HTTPS has a security policy"
)]
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
#[case("cluster: { existing: true }", "write its `name` beside it")]
#[case("cluster: { name: x, existing: true, insights: true }", "`insights` is for a new cluster")]
#[case("cluster: { capacity: ec2 }", "say what instances it has")]
#[case("cluster: { instances: { type: t3.small } }", "Fargate has no instances")]
#[case(
    "cluster: { capacity: ec2, instances: { type: t3.small, min: 3, max: 2 } }",
    "at most 2 are fewer than at least 3"
)]
#[case(
    "cluster: { capacity: ec2, instances: { type: t3.small, mounts: { /a: /b } } }",
    "instances mount a file system"
)]
#[case("services: { app: { image: a, memoryReservation: 128 } }", "on Fargate a task has its `memory`")]
#[case("services: { app: { image: a, networkMode: bridge } }", "`awsvpc` alone")]
#[case("services: { app: { image: a, mounts: { /a: /b } } }", "no instance with directories")]
#[case(
    "cluster: { capacity: ec2, instances: { type: t3.small } }\nservices: { app: { image: a } }",
    "says its memory"
)]
#[case(
    "cluster: { capacity: ec2, instances: { type: t3.small } }\nservices: { app: { image: a, memory: 64, memoryReservation: 128 } }",
    "128 MiB can't be kept free"
)]
#[case("services: { app: { image: a, ports: [80], hostPorts: { 80: 8080 } } }", "has its own ports")]
#[case(
    "cluster: { capacity: ec2, instances: { type: t3.small } }\nservices: { app: { image: a, memory: 64, ports: [80], hostPorts: { 81: 8080 } } }",
    "81 is none of the service's `ports`"
)]
#[case(
    "services: { app: { image: a, after: { other: healthy } }, other: { image: a } }",
    "nothing tells whether other is well"
)]
#[case(
    "services: { app: { image: a, after: { jobs.x: started } } }\njobs: { x: { image: a } }",
    "write `completed`"
)]
#[case(
    "services: { app: { image: a, after: { other: completed } }, other: { image: a } }",
    "a service never completes"
)]
#[case("services: { app: { image: a, sidecars: { app: { image: b } } } }", "own container is called that")]
#[case(
    "services: { app: { image: a, sidecars: { b: { image: b, before: completed } } } }",
    "essential: false"
)]
#[case(
    "services: { app: { image: a, sidecars: { b: { image: b, before: healthy } } } }",
    "give it a `check`"
)]
#[case(
    "services: { app: { image: a, sidecars: { b: { image: b, memory: 4096 } } } }",
    "ask for more `memory` (4096) than the task has (512)"
)]
#[case(
    "services: { app: { image: a, sidecars: { b: { image: b, mounts: { /a: /b } } } } }",
    "no instance with directories"
)]
#[case(
    "services: { app: { image: a, sidecars: { b: { image: b, check: { command: [x, y] } } } } }",
    "begins with CMD-SHELL"
)]
#[case("services: { app: { image: a, scale: { max: 3 } } }", "say what the number of tasks follows")]
#[case("services: { app: { image: a, scale: { min: 4, max: 3, cpu: 60 } } }", "at most 3 are fewer")]
#[case("services: { app: { image: a, scale: { max: 3, requests: 100 } } }", "isn't behind exactly one")]
#[case("services: { app: { image: a, deployment: { maximum: 100 } } }", "no task can take another's place")]
#[case("secrets: { a: { generate: {}, compose: x } }", "generated or composed")]
#[case("secrets: { a: { compose: '${secrets.b}' }, b: { compose: x } }", "made of secrets that aren't")]
#[case(
    "secrets: { a: { compose: '${buckets.b}' } }\nbuckets: { b: {} }",
    "a secret is made of other secrets"
)]
#[case("deployers: { ci: { user: true } }", "no repositories that it could push to")]
#[case("deployers: { ci: {} }\nrepositories: { a: {} }", "say how it proves who it is")]
#[case("buckets: { a: { protect: true, forceDelete: true } }", "a protected bucket isn't deleted")]
#[case("checks: [example.com]", "is no address")]
#[case("checks: [{ url: 'https://example.com', deadline: 2h }]", "write 1s to 1h")]
#[case("loadBalancers: { x: { existing: true, type: application, scheme: internal } }", "which balancer?")]
#[case(
    "loadBalancers: { x: { name: x, existing: true, type: network, scheme: internal } }",
    "can't be shared"
)]
#[case(
    "loadBalancers: { x: { name: x, existing: true, type: application, scheme: internal, listeners: { a: { port: 80 } } } }",
    "write the `rules`"
)]
#[case("services: { app: { image: { repository: ap, tag: latest } } }", "the spec has no repositories")]
#[case(
    "repositories: { app: {} }\nservices: { app: { image: { repository: ap, tag: latest } } }",
    "4:41 services.app.image.repository: there is no \"ap\" in repositories; did you mean \"app\"?"
)]
#[case(
    "repositories: { app: {} }\nservices: { app: { image: { repository: app, tag: '' } } }",
    "`v*-playground`"
)]
#[case("repositories: { app: {} }\nservices: { app: { image: { repository: app } } }", "`tag` is missing")]
#[case(
    "repositories: { app: {} }\nservices: { app: { image: { repository: '${repositories.app}', tag: a } } }",
    "a reference can't stand here"
)]
#[case("jobs: { app: { image: { repository: app, tag: 'v*' } } }", "only a service's own container follows")]
#[case(
    "services: { app: { image: a, sidecars: { b: { image: { repository: app, tag: 'v*' } } } } }",
    "only a service's own container follows"
)]
#[case("schedule: { rebuild: 'cron(0 5 * * MON-FRI)' }", "write six: minutes")]
#[case("schedule: { rebuild: 'cron(0 5 * * MON-FRI *)' }", "write ? for either")]
#[case("schedule: { rebuild: 'cron(0 25 ? * MON-FRI *)' }", "25 is no hours; write 0 to 23")]
#[case("schedule: { rebuild: 'rate(7 weeks)' }", "minutes, hours or days")]
#[case("name: 'x${region}'", "is written twice")]
#[case("region: '${region}'", "a reference can't stand here")]
fn a_fault_of_meaning_is_told_with_its_remedy(#[case] rest: &str, #[case] expected: &str) {
    let found = faults(&spec(rest)).join("\n");
    assert!(found.contains(expected), "{found}");
}

/// A text with each fault's place in it, as many faults as are told, and messages that fit on a screen.
fn is_bounded(text: &str) -> Result<(), TestCaseError> {
    let Err(faults) = parse(text, None) else { return Ok(()) };
    prop_assert!(!faults.0.is_empty() && faults.0.len() <= 101, "{} faults", faults.0.len());
    let lines = crate::syntax::lines(text).count();
    for fault in &faults.0 {
        let Fault { line, column, message, .. } = fault;
        prop_assert!(*line >= 1 && *column >= 1 && *line as usize <= lines, "{fault:?}");
        prop_assert!(message.chars().count() <= 1501, "{fault:?}");
        prop_assert!(!message.contains(|letter: char| letter.is_control()), "{fault:?}");
    }
    let shown = faults.render("demo.yaml", text);
    prop_assert!(!shown.contains(|letter: char| letter.is_control() && letter != '\n'), "{shown:?}");
    prop_assert!(shown.lines().all(|line| line.chars().count() < 4000), "{shown}");
    Ok(())
}

const EXAMPLES: [&str; 6] =
    ["reportportal", "windingtree", "datavault", "question-answering", "shared-cluster", "hello"];

fn example(name: &str) -> String {
    let path = format!("{}/../../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("an example")
}

/// What is put into an example, or in place of one of its lines.
const MUTATIONS: [&str; 36] = [
    "", " ", "  ", "\t", "-", "- ", ":", ": ", "?", "{", "}", "[", "]", ",", "#", "&a ", "*a", "!x ", "|",
    ">", "'", "\"", "%", "@", "`", "${", "}", "---\n", "...\n", "~", "null", "0x1F", "\u{0}", "\u{202e}",
    "é", "<<: ",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_has_an_answer_with_a_place_in_it(text in "\\PC{0,80}") {
        is_bounded(&text)?;
    }

    #[test]
    fn a_field_of_any_name_and_value_has_an_answer(
        name in "[a-zA-Z.${}]{1,12}",
        value in prop_oneof!["[0-9]{1,4}", "'[a-z$}{.]{0,9}'", Just("[]".to_owned()), Just("{}".to_owned())]
    ) {
        is_bounded(&spec(&format!("services: {{ app: {{ image: x, '{name}': {value} }} }}")))?;
    }

    #[test]
    fn an_example_that_is_changed_anywhere_has_an_answer_at_its_place(
        example in prop::sample::select(EXAMPLES.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, prop::sample::select(MUTATIONS.to_vec())), 1..4)
    ) {
        let mut text = self::example(example);
        for (at, how, with) in changes {
            let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            places.push(text.len());
            let at = *at.get(&places);
            let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
            let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
            match how {
                0 => text.insert_str(at, with),
                1 => text.replace_range(line..end, with),
                2 => text.replace_range(at..end, with),
                _ => text.insert_str(end, &format!("\n{}", &text[line..end].to_owned())),
            }
        }
        // Where a comment stands, nothing is wrong.
        let text = format!("# a comment\n{text}");
        is_bounded(&text)?;
        if let Err(faults) = parse(&text, None) {
            prop_assert!(faults.0.iter().all(|fault| (fault.line, fault.column) != (1, 1)), "{faults}\n{text}");
        }
    }
}

/// So many lines.
fn lines(numbers: std::ops::Range<usize>, line: impl Fn(usize) -> String) -> String {
    numbers.map(line).collect::<Vec<_>>().join("\n")
}

#[rstest]
#[case::many_faults(spec(&lines(0..20_000, |number| format!("x{number}: 1"))))]
#[case::many_faults_in_a_line(spec(&format!("tags: [{}]", "{},".repeat(200_000))))]
#[case::many_items(spec(&format!("checks: [{}]", "[],".repeat(60_000))))]
#[case::a_long_word(spec(&format!("{}: 1", "a".repeat(1000))))]
#[case::a_long_value(spec(&format!("region: {}", "a".repeat(1_000_000))))]
#[case::a_long_line(spec(&format!("region: '{}${{'", "é".repeat(400_000))))]
#[case::many_references(spec(&format!("services: {{ a: {{ image: '{}' }} }}", "${x}".repeat(200_000))))]
#[case::deep("[".repeat(400_000))]
#[case::deep_fields(lines(0..1000, |depth| format!("{}a:", " ".repeat(depth))))]
#[case::a_bomb(spec(&format!(
    "a: &a0 [x]\n{}",
    lines(1..60, |n| format!("a{n}: &a{n} [{}]", format!("*a{},", n - 1).repeat(9)))
)))]
#[case::a_chain_of_aliases(spec(&format!(
    "a: &a0 [x]\n{}",
    lines(1..10_000, |n| format!("a{n}: &a{n} [*a{}]", n - 1))
)))]
#[case::not_closed(spec("region: '"))]
#[case::tabs("\t".repeat(1000))]
#[case::carriage_returns("a: b\r".repeat(1000))]
fn what_is_large_or_deep_has_an_answer_of_its_size(#[case] text: String) {
    is_bounded(&text).expect("an answer");
}

#[test]
fn of_many_faults_the_first_are_told_and_then_how_many_there_are() {
    let text = spec(&lines(0..300, |number| format!("x{number}: 1")));
    let faults = parse(&text, None).expect_err("faults").0;
    assert_eq!(faults.len(), 101);
    assert_eq!(faults[100].message, "from here on there are 200 more faults");
    assert_eq!(faults[100].line, 103);
}

#[test]
fn of_a_long_line_the_part_around_the_fault_is_shown() {
    let text = spec(&format!(
        "services: {{ {}, web: {{ image: nginx, cpu: 300 }} }}",
        "a: { image: nginx }, ".repeat(20).trim_end_matches(", ")
    ));
    let faults = parse(&text, None).expect_err("faults");
    let shown = faults.render("demo.yaml", &text);
    assert!(shown.lines().all(|line| line.chars().count() < 200), "{shown}");
}
