//! Whole machines on AWS on this machine: environments come up, stay and go.

use step::EnvironmentState;
use tests::Local;

#[tokio::test]
async fn an_environment_comes_up_stays_and_goes() {
    let local = Local::start().await;
    let before = local.inventory();

    let spec = tests::file("examples/first.yaml");
    let version = local.upload("first", &spec).await;
    let of = |version: &str, state| {
        let version = Some(version.to_owned());
        move |status: &step::Status| status.version == version && status.state == state
    };
    let status = local.status("first", of(&version, EnvironmentState::Ready)).await;
    assert_eq!(status.outputs.cluster.expect("a cluster").name, "first");

    let standing = local.inventory();
    assert_ne!(standing, before);

    // The same again, as a new version: nothing is written but by the control plane for itself.
    let (_, since) = local.writes(0);
    let version = local.upload("first", &spec).await;
    local.status("first", of(&version, EnvironmentState::Ready)).await;
    let (writes, _) = local.writes(since);
    assert_eq!(writes, Vec::<String>::new());

    // A bad spec leaves what stands.
    let bad = local.upload("first", "{ apiVersion: plinth/v1, name: other, clutser: {} }").await;
    let status = local.status("first", of(&bad, EnvironmentState::Rejected)).await;
    assert!(!status.faults.is_empty());
    assert_eq!(local.inventory(), standing);

    local.delete("first").await;
    local.status("first", |status| status.state == EnvironmentState::Destroyed).await;
    assert_eq!(local.inventory(), before);
}
