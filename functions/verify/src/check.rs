//! The spec's `checks`: addresses that must answer, asked from where this function runs.

use std::{
    error::Error as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use reqwest::{Client, Response, Url, redirect::Policy};
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

/// A client that follows no redirect: that one is answered is what is looked at.
pub(crate) fn client() -> Result<Client> {
    let client = Client::builder().redirect(Policy::none()).timeout(TIMEOUT).user_agent("plinth").build();
    client.map_err(|error| Error::Failed(format!("preparing HTTP requests: {}", chain(&error))))
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
    if !local && is_here(&parsed) {
        return Err(Error::InvalidSpec(format!(
            "checks: {url} is this machine's own address, where nothing of the environment answers: write the \
             one that its users have"
        )));
    }
    let Some(fault) = ask(http, parsed, check).await else { return Ok(None) };
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

/// Whether an address means the machine that asks, or what only it may ask: where a function runs, that is the
/// runtime's own interface.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(host)) => host.is_loopback() || host.is_link_local() || host.is_unspecified(),
        Ok(IpAddr::V6(host)) => host.is_loopback() || host.is_unicast_link_local() || host.is_unspecified(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// What is wrong with the answer.
async fn ask(http: &Client, url: Url, check: &HttpCheck) -> Option<String> {
    let wanted = check.status;
    let response = match http.get(url).send().await {
        Ok(response) => response,
        Err(error) => {
            return Some(format!(
                "status {wanted} is wanted, and there is no answer: {}",
                chain(&error.without_url())
            ));
        }
    };
    let status = response.status().as_u16();
    if status != wanted {
        return Some(format!("status {wanted} is wanted, and {status} is answered"));
    }
    let text = check.body.as_ref()?;
    let body = match body(response).await {
        Ok(body) => body,
        Err(error) => {
            return Some(format!(
                "a body that contains {text:?} is wanted, and it breaks off: {}",
                chain(&error.without_url())
            ));
        }
    };
    let found: String = body.chars().take(TOLD).collect();
    let told = if found.is_empty() { "it is empty".to_owned() } else { format!("it begins with {found:?}") };
    (!body.contains(text)).then(|| format!("a body that contains {text:?} is wanted, and {told}"))
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
