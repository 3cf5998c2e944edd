//! Several addresses of a section at once.

use futures::{StreamExt, stream};

use crate::{Error, Result};

/// How many calls one pass has under way at a time; few enough for the smallest of AWS's buckets.
const AT_ONCE: usize = 8;

/// Does all of them, a few at a time, and answers in their order. A fault is told only after all had
/// their turn: real ones before waits, and all waits as one, at the quickest pace among
/// them, each once.
pub async fn side_by_side<T, F>(passes: impl IntoIterator<Item = F>) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let results: Vec<_> = stream::iter(passes).buffered(AT_ONCE).collect().await;
    let mut done = Vec::with_capacity(results.len());
    let mut waits: Option<(crate::Pace, Vec<String>)> = None;
    let mut asked = Vec::new();
    let mut fault: Option<Error> = None;
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(Error::NotReady { pace, message, asks }) => {
                asked.extend(asks.into_iter().filter(|ask| !asked.contains(ask)).collect::<Vec<_>>());
                match &mut waits {
                    None => waits = Some((pace, vec![message])),
                    Some((quickest, messages)) => {
                        *quickest = pace.min(*quickest);
                        if !messages.contains(&message) {
                            messages.push(message);
                        }
                    }
                }
            }
            // Of several faults the one that a retry can't mend is told.
            Err(error) => match &fault {
                None | Some(Error::Throttled(_)) => fault = Some(error),
                Some(_) => {}
            },
        }
    }
    match (fault, waits) {
        (Some(fault), _) => Err(fault),
        (None, Some((pace, messages))) => {
            Err(Error::NotReady { pace, message: messages.join("; "), asks: asked })
        }
        (None, None) => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pace;

    fn wait(pace: Pace, message: &str) -> Result<()> {
        Err(Error::wait(pace, message))
    }

    async fn of(results: Vec<Result<()>>) -> Result<Vec<()>> {
        side_by_side(results.into_iter().map(std::future::ready)).await
    }

    #[tokio::test]
    async fn one_wait_names_all_that_is_pending() {
        let error = of(vec![wait(Pace::Long, "a"), Ok(()), wait(Pace::Soon, "b")]).await.unwrap_err();
        assert_eq!(error, Error::wait(Pace::Soon, "a; b"));
    }

    #[tokio::test]
    async fn what_people_are_asked_is_told_apart_from_the_waits_beside_it() {
        let error = of(vec![wait(Pace::Soon, "a"), Err(Error::asking(Pace::Long, "b"))]).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.asks()), ("a; b", &["b".to_owned()][..]));
    }

    #[tokio::test]
    async fn a_fault_is_told_before_a_wait() {
        let fault = Err(Error::Failed("no".to_owned()));
        let throttled = Err(Error::Throttled("slow".to_owned()));
        let error = of(vec![wait(Pace::Soon, "a"), throttled, fault]).await.unwrap_err();
        assert_eq!(error, Error::Failed("no".to_owned()));
    }
}
