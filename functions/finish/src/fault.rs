//! What a machine's Catch caught, unwrapped.

use serde_json::Value;
use step::RunFault;

/// Reads `$states.errorOutput`. A nested execution's fault is `States.TaskFailed`, with the child's
/// description as its Cause; a Lambda's Cause is JSON with an `errorMessage`.
/// Source: <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>
pub(crate) fn read(output: &Value) -> RunFault {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let error = text(output, "Error").unwrap_or_else(|| "States.TaskFailed".to_owned());
    let cause = text(output, "Cause").unwrap_or_default();
    match serde_json::from_str::<Value>(&cause) {
        Ok(inner) if inner.get("Error").is_some() => read(&inner),
        Ok(inner) if inner.get("errorMessage").is_some() => {
            RunFault { error, state: None, message: text(&inner, "errorMessage").unwrap_or_default() }
        }
        _ => RunFault { error, state: None, message: cause },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_nested_lambdas_message_is_found() {
        let lambda =
            json!({ "errorType": "Conflict", "errorMessage": "ECS cluster (demo) exists" }).to_string();
        let child = json!({ "Status": "FAILED", "Error": "Conflict", "Cause": lambda }).to_string();
        let fault = read(&json!({ "Error": "States.TaskFailed", "Cause": child }));
        assert_eq!((fault.error.as_str(), fault.message.as_str()), ("Conflict", "ECS cluster (demo) exists"));
    }

    #[test]
    fn a_fault_of_the_machine_itself_is_told_as_it_is() {
        let fault = read(&json!({ "Error": "States.Timeout", "Cause": "took too long" }));
        assert_eq!((fault.error.as_str(), fault.message.as_str()), ("States.Timeout", "took too long"));
    }
}
