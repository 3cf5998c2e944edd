use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
};

use super::*;

/// What a server answers to a path.
type Page = (u16, String);

/// Traefik and the services behind it, at one address.
struct Neighbours {
    address: String,
    /// The paths asked so far.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Neighbours {
    /// Serves `list` where Traefik's API has its services, with the neighbours' own address for each
    /// `{here}`, and answers every other path with `page`.
    async fn new<F, Fut>(list: Value, page: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Page> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let list = list.to_string().replace("{here}", &address);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (paths, page) = (Arc::clone(&asked), Arc::new(page));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (list, paths, page) = (list.clone(), Arc::clone(&paths), Arc::clone(&page));
                tokio::spawn(async move {
                    let path = path(&mut stream).await;
                    paths.lock().expect("a lock").push(path.clone());
                    let answer = if path == "/api/http/services" { (200, list) } else { (*page)(path).await };
                    write(&mut stream, answer).await;
                });
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a lock").clone()
    }
}

async fn path(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    let head = String::from_utf8(head).expect("a text");
    head.split(' ').nth(1).expect("a path").to_owned()
}

async fn write(stream: &mut TcpStream, (status, body): Page) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} \r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // A client that has read enough hangs up.
    stream.write_all((head + &body).as_bytes()).await.ok();
}

/// An address where nothing listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// A service as Traefik lists it, with one server.
fn service(name: &str, url: &str, status: &str) -> Value {
    json!({
        "status": "enabled",
        "usedBy": ["router@ecs"],
        "name": name,
        "provider": "ecs",
        "type": "loadbalancer",
        "loadBalancer": { "servers": [{ "url": url }], "passHostHeader": true },
        "serverStatus": { url: status },
    })
}

fn request(method: &str, path: &str, headers: &Value) -> AlbTargetGroupRequest {
    let event = json!({
        "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:index" } },
        "httpMethod": method,
        "path": path,
        "queryStringParameters": {},
        "headers": headers,
        "body": "",
        "isBase64Encoded": false,
    });
    serde_json::from_value(event).expect("a request")
}

fn get(path: &str) -> AlbTargetGroupRequest {
    request("GET", path, &json!({ "host": "rp.example.com", "x-forwarded-proto": "https" }))
}

fn index(address: &str) -> Index {
    Index::new(address).expect("an index")
}

/// What the load balancer is handed.
async fn answer(index: &Index, request: AlbTargetGroupRequest) -> Value {
    serde_json::to_value(index.handle(request).await).expect("JSON")
}

/// The JSON of an answer's body.
fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON")
}

fn error(found: &Value) -> &str {
    found["error"].as_str().expect("an error")
}

async fn page(path: String) -> Page {
    match path.as_str() {
        "/live/info" => (200, r#"{"build":{"version":"5.7.2"}}"#.to_owned()),
        "/text/info" => (200, "ReportPortal".to_owned()),
        "/broken/info" => (500, r#"{"message":"no database"}"#.to_owned()),
        "/silent/info" => pending().await,
        _ => (404, "404 page not found".to_owned()),
    }
}

#[tokio::test]
async fn info_is_what_each_service_says_or_why_it_says_nothing() {
    let list = json!([
        { "name": "ping@internal", "provider": "internal", "status": "enabled" },
        service("dashboard@internal", "{here}/live", "UP"),
        { "name": "weighted@file", "provider": "file", "weighted": { "services": [] } },
        { "name": "empty@ecs", "loadBalancer": {} },
        service("api@ecs", "{here}/live", "UP"),
        service("uat@docker", "{here}/live/", "UP"),
        service("dead@ecs", &nowhere().await, "UP"),
        service("text@ecs", "{here}/text", "UP"),
        service("broken@ecs", "{here}/broken", "UP"),
        service("silent@ecs", "{here}/silent", "UP"),
    ]);
    let traefik = Neighbours::new(list, page).await;
    let index = Index { info_deadline: Duration::from_secs(1), ..index(&traefik.address) };
    let answer = answer(&index, get("/composite/info")).await;
    assert_eq!(answer["statusCode"], 200);
    let body = body(&answer);
    let apps: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(apps, ["empty", "api", "uat", "dead", "text", "broken", "silent"]);
    assert_eq!(body["api"], json!({ "build": { "version": "5.7.2" } }));
    assert_eq!(body["uat"], body["api"]);
    assert_eq!(error(&body["empty"]), "it has no server");
    assert!(error(&body["dead"]).starts_with("Connection refused"), "{body}");
    assert!(error(&body["text"]).starts_with("its answer isn't the JSON expected"), "{body}");
    assert_eq!(error(&body["broken"]), "it answered 500 Internal Server Error");
    assert_eq!(error(&body["silent"]), "no answer within 1s");
}

#[tokio::test]
async fn services_are_asked_at_the_same_time() {
    let list = json!([service("api@ecs", "{here}/api", "UP"), service("uat@ecs", "{here}/uat", "UP")]);
    let both = Arc::new(Barrier::new(2));
    let traefik = Neighbours::new(list, move |_| {
        let both = Arc::clone(&both);
        async move {
            both.wait().await;
            (200, "{}".to_owned())
        }
    });
    let answer = answer(&index(&traefik.await.address), get("/composite/info")).await;
    assert_eq!(body(&answer), json!({ "api": {}, "uat": {} }));
}

#[tokio::test]
async fn a_body_may_have_one_mebibyte_and_no_more() {
    let list = json!([service("fits@ecs", "{here}/0", "UP"), service("large@ecs", "{here}/1", "UP")]);
    let traefik = Neighbours::new(list, async |path| {
        let length = LARGEST + usize::from(path == "/1/info");
        (200, "{}".to_owned() + &" ".repeat(length - 2))
    });
    let body = body(&answer(&index(&traefik.await.address), get("/composite/info")).await);
    assert_eq!(body, json!({ "fits": {}, "large": { "error": "its answer is larger than 1 MiB" } }));
}

#[rstest]
#[case::the_one_that_is_up("DOWN", "UP", "/second/info")]
#[case::the_first_of_two_that_are_up("UP", "UP", "/first/info")]
#[case::the_first_of_two_that_are_down("DOWN", "DOWN", "/first/info")]
#[tokio::test]
async fn info_is_asked_of(#[case] first: &str, #[case] second: &str, #[case] path: &str) {
    let list = json!([{
        "name": "api@ecs",
        "loadBalancer": { "servers": [{ "url": "{here}/first" }, { "url": "{here}/second" }] },
        "serverStatus": { "{here}/first": first, "{here}/second": second },
    }]);
    let traefik = Neighbours::new(list, async |_| (200, "{}".to_owned())).await;
    answer(&index(&traefik.address), get("/composite/info")).await;
    assert_eq!(traefik.asked(), ["/api/http/services", path]);
}

#[tokio::test]
async fn health_is_what_the_list_says_and_no_service_is_asked() {
    let half = json!({
        "name": "half@ecs",
        "loadBalancer": { "servers": [{ "url": "{here}/a" }, { "url": "{here}/b" }] },
        "serverStatus": { "{here}/a": "DOWN", "{here}/b": "UP" },
    });
    let list = json!([
        service("api@ecs", "{here}/live", "UP"),
        service("dashboard@internal", "{here}/live", "UP"),
        service("uat@ecs", "{here}/live", "DOWN"),
        half,
        { "name": "unused@ecs", "loadBalancer": { "servers": [{ "url": "{here}/live" }] } },
        { "name": "ping@internal" },
    ]);
    let traefik = Neighbours::new(list, page).await;
    let answer = answer(&index(&traefik.address), get("/composite/health")).await;
    let expected = json!({ "api": "UP", "uat": "DOWN", "half": "UP", "unused": "DOWN" });
    assert_eq!(body(&answer), expected);
    assert_eq!(traefik.asked(), ["/api/http/services"]);
}

#[tokio::test]
async fn an_answer_has_the_form_the_load_balancer_reads() {
    let traefik = Neighbours::new(json!([service("api@ecs", "{here}/live", "UP")]), page).await;
    let answer = answer(&index(&traefik.address), get("/composite/health")).await;
    let expected = json!({
        "statusCode": 200,
        "statusDescription": "200 OK",
        "headers": { "content-type": "application/json" },
        "multiValueHeaders": { "content-type": ["application/json"] },
        "body": r#"{"api":"UP"}"#,
        "isBase64Encoded": false,
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let traefik = Neighbours::new(json!([service("api@ecs", "{here}/live", "UP")]), page).await;
    let index = index(&traefik.address);
    for path in ["/composite/info", "/composite/health", "/", "/nowhere"] {
        let mut expected = answer(&index, get(path)).await;
        expected["body"] = "".into();
        let headers = json!({ "host": "rp.example.com", "x-forwarded-proto": "https" });
        assert_eq!(answer(&index, request("HEAD", path, &headers)).await, expected, "{path}");
    }
}

#[rstest]
#[case::to_the_ui("/", json!({ "host": "rp.example.com", "x-forwarded-proto": "https" }), "https://rp.example.com/ui")]
#[case::to_its_folder("/ui", json!({ "host": "rp.example.com", "x-forwarded-proto": "https" }), "https://rp.example.com/ui/")]
#[case::over_http_with_a_port("/", json!({ "host": "10.0.0.1:8080", "x-forwarded-proto": "http" }), "http://10.0.0.1:8080/ui")]
#[case::to_an_ipv6_address("/", json!({ "host": "[2001:db8::1]:80", "x-forwarded-proto": "http" }), "http://[2001:db8::1]:80/ui")]
#[case::over_https_unless_told("/", json!({ "host": "rp.example.com" }), "https://rp.example.com/ui")]
#[case::over_no_other_scheme("/", json!({ "host": "rp.example.com", "x-forwarded-proto": "javascript" }), "https://rp.example.com/ui")]
#[case::without_headers("/", json!({}), "/ui")]
#[case::without_a_host("/ui", json!({ "x-forwarded-proto": "http" }), "/ui/")]
#[case::not_to_a_user_at_a_host("/", json!({ "host": "rp.example.com@evil.example" }), "/ui")]
#[case::not_to_a_path("/", json!({ "host": "evil.example/login" }), "/ui")]
#[case::not_to_a_letter_beyond_ascii("/", json!({ "host": "ävil.example" }), "/ui")]
#[tokio::test]
async fn leads(#[case] path: &str, #[case] headers: Value, #[case] location: &str) {
    let answer = answer(&index("http://traefik.internal"), request("GET", path, &headers)).await;
    assert_eq!(answer["statusCode"], 301);
    assert_eq!(answer["statusDescription"], "301 Moved Permanently");
    assert_eq!(answer["headers"]["location"], location);
    assert_eq!(answer["multiValueHeaders"]["location"], json!([location]));
    assert_eq!(answer["body"], "");
}

#[tokio::test]
async fn a_target_group_may_send_its_headers_with_many_values() {
    let mut request = request("GET", "/", &Value::Null);
    request.multi_value_headers.insert(HOST, HeaderValue::from_static("rp.example.com"));
    let answer = answer(&index("http://traefik.internal"), request).await;
    assert_eq!(answer["headers"]["location"], "https://rp.example.com/ui");
}

#[rstest]
#[case::nothing("", false)]
#[case::a_space("a b", false)]
#[case::a_line_end("a\r\nSet-Cookie: b", false)]
#[case::a_slash("a/b", false)]
#[case::a_backslash("a\\b", false)]
#[case::a_user("a@b", false)]
#[case::a_list("a,b", false)]
#[case::a_name("rp-1.example_a.com:443", true)]
fn a_host_may_be(#[case] text: &str, #[case] host: bool) {
    assert_eq!(is_host(text), host);
}

#[rstest]
#[tokio::test]
async fn there_is_nothing_else(
    #[values("/composite", "/composite/info/", "/ui/", "", "/api/<script>\"")] path: &str,
    #[values("GET", "POST")] method: &str,
) {
    let answer = answer(&index("http://traefik.internal"), request(method, path, &json!({}))).await;
    assert_eq!(answer["statusCode"], 404);
    assert_eq!(answer["statusDescription"], "404 Not Found");
    assert_eq!(answer["headers"], json!({ "content-type": "application/json" }));
    assert_eq!(error(&body(&answer)), format!("there is nothing at {path}"));
}

#[rstest]
#[tokio::test]
async fn nothing_is_written(
    #[values("/", "/ui", "/composite/info", "/composite/health")] path: &str,
    #[values("POST", "PUT", "DELETE", "OPTIONS")] method: &str,
) {
    let answer = answer(&index("http://traefik.internal"), request(method, path, &json!({}))).await;
    assert_eq!(answer["statusCode"], 405);
    assert_eq!(answer["statusDescription"], "405 Method Not Allowed");
    assert_eq!(answer["headers"]["allow"], "GET, HEAD");
    assert_eq!(error(&body(&answer)), format!("{path} takes GET and HEAD only"));
}

#[rstest]
#[tokio::test]
async fn without_traefik_the_answer_says_what_was_asked_and_why_it_failed(
    #[values("/composite/info", "/composite/health")] path: &str,
) {
    let address = nowhere().await;
    let answer = answer(&index(&address), get(path)).await;
    assert_eq!(answer["statusCode"], 502);
    assert_eq!(answer["statusDescription"], "502 Bad Gateway");
    let body = body(&answer);
    let expected =
        format!("asking Traefik for its services ({address}/api/http/services): Connection refused");
    assert!(error(&body).starts_with(&expected), "{body}");
}

#[rstest]
#[case::silent("/silent/info", "no answer within 1s")]
#[case::no_traefik("/other", "it answered 404 Not Found")]
#[case::no_json("/text/info", "its answer isn't the JSON expected: expected value at line 1 column 1")]
#[tokio::test]
async fn a_traefik_is_no_use_that_is(#[case] path: &str, #[case] cause: &str) {
    let address = Neighbours::new(json!([]), page).await.address + path;
    let index = Index { services_deadline: Duration::from_secs(1), ..index(&address) };
    let answer = answer(&index, get("/composite/health")).await;
    assert_eq!(answer["statusCode"], 502);
    let expected = format!("asking Traefik for its services ({address}): {cause}");
    assert_eq!(error(&body(&answer)), expected);
}

#[tokio::test]
async fn an_answer_that_stops_half_way_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}/half", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        path(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[").await.expect("a client");
        pending::<()>().await;
    });
    let index = Index { services_deadline: Duration::from_millis(300), ..index(&address) };
    let body = body(&answer(&index, get("/composite/health")).await);
    assert_eq!(error(&body), format!("asking Traefik for its services ({address}): no answer within 300ms"));
}

#[tokio::test]
async fn a_password_for_traefik_stays_out_of_the_answer() {
    let address = nowhere().await;
    let secret = address.replace("http://", "http://reader:hunter2@");
    let body = body(&answer(&index(&secret), get("/composite/info")).await);
    let expected = format!("asking Traefik for its services ({address}/api/http/services): ");
    assert!(error(&body).starts_with(&expected), "{body}");
}

#[rstest]
#[case("http://traefik.internal:8081", "http://traefik.internal:8081/api/http/services")]
#[case("http://traefik.internal:8081/", "http://traefik.internal:8081/api/http/services")]
#[case("http://traefik.internal/services?per_page=9", "http://traefik.internal/services?per_page=9")]
fn the_list_is_at(#[case] address: &str, #[case] url: &str) {
    assert_eq!(index(address).services_url.as_str(), url);
}

#[rstest]
#[case::empty("", "relative URL without a base")]
#[case::without_a_scheme("traefik.internal:8081", "its scheme is traefik.internal, not http")]
#[case::over_https("https://traefik.internal", "its scheme is https, not http")]
fn an_address_may_not_be(#[case] address: &str, #[case] cause: &str) {
    let error = Index::new(address).expect_err("an error");
    let expected =
        format!("reading TRAEFIK_SERVICES_URL: {cause}: write it like http://traefik.internal:8081");
    assert_eq!(error, expected);
}
