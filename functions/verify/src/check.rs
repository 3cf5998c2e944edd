//! The spec's `checks`: addresses that must answer, asked from where this function runs.

use std::{
    error::Error as StdError,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use reqwest::{
    Client, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use spec::HttpCheck;
use step::{Context, Error, Pace, Result};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes of a body are looked at.
const BODY_LIMIT: usize = 1024 * 1024;

/// How many characters of a body are told.
const TOLD: usize = 200;

/// After how many seconds of waiting to look less often.
const EARLY: u64 = 120;

/// A client that follows no redirect, asks no proxy, and connects to public addresses alone, whatever a name
/// resolves to. The status of a redirect is what is checked.
pub(crate) fn client() -> Result<Client> {
    let client = Client::builder().redirect(Policy::none()).no_proxy().dns_resolver(Arc::new(PublicNames));
    client
        .timeout(TIMEOUT)
        .user_agent("plinth")
        .build()
        .map_err(|error| Error::Failed(format!("preparing HTTP requests: {}", chain(&error))))
}

/// Whether an address answers as it must, waited for until the check's deadline; a note if it wasn't asked. On
/// the local AWS no containers run, so that only what this machine itself serves can answer.
pub(crate) async fn answers(http: &Client, context: &Context, check: &HttpCheck) -> Result<Option<String>> {
    let url = context.render(&check.url)?;
    let parsed = Url::parse(&url).map_err(|error| {
        Error::InvalidSpec(format!(
            "checks: {url} is no address: {error}; write one such as https://example.com/"
        ))
    })?;
    let local = context.aws.endpoint_url().is_some();
    if local && parsed.host_str() != Some("127.0.0.1") {
        return Ok(Some(format!("skipped: {url} (nothing runs on the local AWS)")));
    }
    if !local && let Some(address) = literal(&parsed).filter(|address| !is_public(*address)) {
        return Err(not_public(&url, address));
    }
    let fault = match ask(http, parsed, check).await {
        Ok(None) => return Ok(None),
        Ok(Some(fault)) => fault,
        Err(NotPublic(address)) => return Err(not_public(&url, address)),
    };
    let since = SystemTime::from(context.since);
    let age = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
    if age > check.deadline.seconds() {
        return Err(Error::Failed(format!(
            "checking {url}: {fault}, for {}; look at the logs of what answers there, mend that, and upload the \
             spec again, or start the run again",
            check.deadline
        )));
    }
    let pace = if age < EARLY { Pace::Soon } else { Pace::Later };
    Err(Error::wait(pace, format!("{url}: {fault}, {age} s of at most {}", check.deadline)))
}

fn not_public(url: &str, address: IpAddr) -> Error {
    Error::InvalidSpec(format!(
        "checks: {url} leads to {address}, which is no public address: checks are made from outside the \
         environment's network; write the address that its users have on the internet, or leave the check out"
    ))
}

/// The address that a URL names without DNS.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whether an address is on the internet. Others lead to this function's own interfaces, such as the runtime's
/// and the one that hands out credentials, or into networks that this function isn't in.
/// Sources: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>,
/// <https://www.iana.org/assignments/iana-ipv4-special-registry/iana-ipv4-special-registry.xhtml>
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| is_public_v6(address), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    !(first == 0
        || shared
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast())
}

/// Global unicast is `2000::/3`.
/// Source: <https://www.iana.org/assignments/ipv6-address-space/ipv6-address-space.xhtml>
fn is_public_v6(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000
}

/// The IPv4 address that an IPv6 address stands for: mapped (`::ffff:127.0.0.1`), translated (`64:ff9b::/96`), or
/// tunnelled (`2002::/16`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let four = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(four(high, low)),
        _ => None,
    }
}

/// Resolves names to public addresses; a name with any other address is refused.
struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The hosts file doesn't know a name that ends in a dot.
            let name = name.as_str().trim_end_matches('.');
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            match found.iter().find(|found| !is_public(found.ip())) {
                Some(found) => Err(NotPublic(found.ip()).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// An address that isn't on the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotPublic(IpAddr);

impl fmt::Display for NotPublic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is no public address", self.0)
    }
}

impl StdError for NotPublic {}

/// What is wrong with the answer.
async fn ask(http: &Client, url: Url, check: &HttpCheck) -> std::result::Result<Option<String>, NotPublic> {
    let wanted = check.status;
    let response = match http.get(url).send().await {
        Ok(response) => response,
        Err(error) => {
            if let Some(refused) = refused(&error) {
                return Err(refused);
            }
            return Ok(Some(format!(
                "status {wanted} is wanted, and there is no answer: {}",
                chain(&error.without_url())
            )));
        }
    };
    let status = response.status().as_u16();
    if status != wanted {
        return Ok(Some(format!("status {wanted} is wanted, and {status} is answered")));
    }
    let Some(text) = check.body.as_ref() else { return Ok(None) };
    let body = match body(response).await {
        Ok(body) => body,
        Err(error) => {
            return Ok(Some(format!(
                "a body that contains {text:?} is wanted, and it breaks off: {}",
                chain(&error.without_url())
            )));
        }
    };
    let found: String = body.chars().take(TOLD).collect();
    let told = if found.is_empty() { "it is empty".to_owned() } else { format!("it begins with {found:?}") };
    Ok((!body.contains(text)).then(|| format!("a body that contains {text:?} is wanted, and {told}")))
}

/// The address for which a request was refused, if it was.
fn refused(error: &reqwest::Error) -> Option<NotPublic> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref::<NotPublic>() {
            return Some(*refused);
        }
        source = error.source();
    }
    None
}

/// The body as text, as far as it is looked at.
async fn body(mut response: Response) -> reqwest::Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= BODY_LIMIT {
            break;
        }
    }
    bytes.truncate(BODY_LIMIT);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An error and what it came from, in one line.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}
