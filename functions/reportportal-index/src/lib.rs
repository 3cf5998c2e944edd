//! The function `reportportal-index`: the index of a `ReportPortal` behind an Application Load Balancer.
//! It says what each of the services is and whether it is up, and leads a browser to the UI.
//!
//! It keeps no list of its own: Traefik, which routes to the services, is asked for them each time.

use std::{collections::BTreeMap, error::Error, time::Duration};

use aws_lambda_events::{
    alb::{AlbTargetGroupRequest, AlbTargetGroupResponse},
    encodings::Body,
};
use futures::future::join_all;
use lambda_runtime::tracing;
use reqwest::{
    Client, Method, StatusCode, Url,
    header::{ALLOW, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION},
    redirect::Policy,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// The most a body may have, in bytes. The function has 128 MB for all of them.
const LARGEST: usize = 1024 * 1024;

/// The index, and where it learns of the services.
#[derive(Debug)]
pub struct Index {
    client: Client,
    services_url: Url,
    /// How long Traefik may take to answer.
    services_deadline: Duration,
    /// How long each service may take to answer.
    info_deadline: Duration,
}

impl Index {
    /// An index of the services Traefik lists at `address`, an http URL. Without a path it is Traefik's
    /// own address, and the list is where [Traefik's API](https://doc.traefik.io/traefik/v2.4/operations/api/)
    /// has it. Fails on an address that can't be asked.
    pub fn new(address: &str) -> Result<Self, String> {
        let reading = |cause: String| {
            format!("reading TRAEFIK_SERVICES_URL: {cause}: write it like http://traefik.internal:8081")
        };
        let mut services_url = Url::parse(address).map_err(|error| reading(error.to_string()))?;
        if services_url.scheme() != "http" {
            return Err(reading(format!("its scheme is {}, not http", services_url.scheme())));
        }
        if services_url.path() == "/" {
            services_url.set_path("/api/http/services");
        }
        // Between two requests the function is frozen, and a connection kept may have died unnoticed.
        let client = Client::builder().no_proxy().redirect(Policy::none()).pool_max_idle_per_host(0).build();
        let client = client.map_err(|error| format!("creating an HTTP client: {}", cause(&error)))?;
        let deadline = Duration::from_secs(5);
        Ok(Self { client, services_url, services_deadline: deadline, info_deadline: deadline })
    }

    /// Answers one request. Whatever is wrong with it, or behind it, is said in the answer.
    pub async fn handle(&self, request: AlbTargetGroupRequest) -> AlbTargetGroupResponse {
        let path = request.path.as_deref().unwrap_or_default();
        let reads = matches!(request.http_method, Method::GET | Method::HEAD);
        let mut response = match path {
            "/" | "/ui" | "/composite/info" | "/composite/health" if !reads => {
                let allow = (ALLOW, HeaderValue::from_static("GET, HEAD"));
                let error = json!({ "error": format!("{path} takes GET and HEAD only") });
                respond(StatusCode::METHOD_NOT_ALLOWED, Some(allow), error.to_string())
            }
            "/" => redirect(&request, "/ui"),
            "/ui" => redirect(&request, "/ui/"),
            "/composite/info" => composite(self.info().await),
            "/composite/health" => composite(self.health().await),
            _ => {
                let error = json!({ "error": format!("there is nothing at {path}") });
                respond(StatusCode::NOT_FOUND, None, error.to_string())
            }
        };
        if request.http_method == Method::HEAD {
            response.body = Some(Body::Text(String::new()));
        }
        response
    }

    /// What each service says of itself, by app.
    async fn info(&self) -> Result<Map<String, Value>, String> {
        let services = self.services().await?;
        let asked = services.iter().map(async |service| {
            let info = self.info_of(service).await.unwrap_or_else(|cause| {
                tracing::warn!("asking {} for its info: {cause}", service.name);
                json!({ "error": cause })
            });
            (service.app().to_owned(), info)
        });
        Ok(join_all(asked).await.into_iter().collect())
    }

    async fn info_of(&self, service: &Service) -> Result<Value, String> {
        let server = service.server().ok_or("it has no server")?;
        self.get(&format!("{}/info", server.trim_end_matches('/')), self.info_deadline).await
    }

    /// Whether each service is up, by app, as Traefik sees it.
    async fn health(&self) -> Result<Map<String, Value>, String> {
        let services = self.services().await?;
        Ok(services.iter().map(|service| (service.app().to_owned(), service.health().into())).collect())
    }

    /// The services Traefik sends requests to, without those of its own.
    async fn services(&self) -> Result<Vec<Service>, String> {
        let listed = self.get::<Vec<Service>>(self.services_url.as_str(), self.services_deadline).await;
        let mut services = listed.map_err(|cause| {
            let error = format!("asking Traefik for its services ({}): {cause}", public(&self.services_url));
            tracing::warn!("{error}");
            error
        })?;
        services.retain(|service| service.load_balancer.is_some() && !service.name.ends_with("@internal"));
        Ok(services)
    }

    /// The JSON at a URL, or in a few words why there is none.
    async fn get<T: DeserializeOwned>(&self, url: &str, deadline: Duration) -> Result<T, String> {
        let why = |error: reqwest::Error| {
            if error.is_timeout() { format!("no answer within {deadline:?}") } else { cause(&error) }
        };
        let mut response = self.client.get(url).timeout(deadline).send().await.map_err(why)?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(why)? {
            if body.len() + chunk.len() > LARGEST {
                return Err("its answer is larger than 1 MiB".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| format!("its answer isn't the JSON expected: {error}"))
    }
}

/// A service as Traefik lists it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    /// The service's own name and its provider's, such as `api@ecs`.
    name: String,
    load_balancer: Option<LoadBalancer>,
    /// `UP` or `DOWN` by server URL. Traefik leaves it out of a service that no router uses.
    #[serde(default)]
    server_status: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct LoadBalancer {
    #[serde(default)]
    servers: Vec<Server>,
}

#[derive(Deserialize)]
struct Server {
    #[serde(default)]
    url: String,
}

impl Service {
    /// The name without its provider's.
    fn app(&self) -> &str {
        self.name.split_once('@').map_or(self.name.as_str(), |(app, _)| app)
    }

    fn health(&self) -> &'static str {
        if self.server_status.values().any(|status| status == "UP") { "UP" } else { "DOWN" }
    }

    /// The URL of the first server that is up, or else of the first.
    fn server(&self) -> Option<&str> {
        let servers = &self.load_balancer.as_ref()?.servers;
        let up = |server: &&Server| self.server_status.get(&server.url).is_some_and(|status| status == "UP");
        let server = servers.iter().find(up).or(servers.first())?;
        Some(&server.url)
    }
}

fn composite(found: Result<Map<String, Value>, String>) -> AlbTargetGroupResponse {
    match found {
        Ok(found) => respond(StatusCode::OK, None, Value::Object(found).to_string()),
        Err(error) => respond(StatusCode::BAD_GATEWAY, None, json!({ "error": error }).to_string()),
    }
}

/// Leads to a path on the host that was asked, or, where the request names none that can be repeated, to
/// the path alone.
fn redirect(request: &AlbTargetGroupRequest, path: &'static str) -> AlbTargetGroupResponse {
    let scheme = match header(request, &HeaderName::from_static("x-forwarded-proto")) {
        Some("http") => "http",
        _ => "https",
    };
    let host = header(request, &HOST).filter(|host| is_host(host));
    let location = host.and_then(|host| HeaderValue::try_from(format!("{scheme}://{host}{path}")).ok());
    let location = location.unwrap_or(HeaderValue::from_static(path));
    respond(StatusCode::MOVED_PERMANENTLY, Some((LOCATION, location)), String::new())
}

/// A request's header, in whichever of the two forms the target group sends them.
fn header<'a>(request: &'a AlbTargetGroupRequest, name: &HeaderName) -> Option<&'a str> {
    let value = request.headers.get(name).or(request.multi_value_headers.get(name))?;
    value.to_str().ok()
}

/// Whether a text has only what a host name, an address or a port is made of.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The headers are given in both forms: the load balancer reads the one that
/// [the target group is set to](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html#multi-value-headers).
fn respond(
    status: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
    body: String,
) -> AlbTargetGroupResponse {
    let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let headers: HeaderMap = [json].into_iter().chain(header).collect();
    let mut response = AlbTargetGroupResponse::default();
    response.status_code = status.as_u16().into();
    response.status_description = Some(status.to_string());
    response.headers = headers.clone();
    response.multi_value_headers = headers;
    response.body = Some(Body::Text(body));
    response
}

/// A URL without the name and password it may hold.
fn public(url: &Url) -> String {
    let whole = url.as_str();
    match whole.split_once('@').filter(|_| !url.username().is_empty() || url.password().is_some()) {
        Some((_, rest)) => format!("{}://{rest}", url.scheme()),
        None => whole.to_owned(),
    }
}

/// What an error comes down to: those around it only say that something was sent.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
