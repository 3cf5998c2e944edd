//! Where an action leads, and how it comes to lead elsewhere without a gap.
//!
//! A service may use a target group only once that hangs on a listener. So a group that is to take another's place
//! first hangs beside it with weight 0; traffic is led to it when its service is steady there. A failed run leaves
//! traffic where it was.
//! Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ForwardActionConfig.html>

use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, ForwardActionConfig, TargetGroupTuple};
use spec::Target;
use step::{Context, Result};

use crate::Aws;

/// Who is to answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    pub(crate) target: Target,
    /// The ARN of its target group.
    pub(crate) group: String,
}

/// What is to be done with an action that should lead to a goal.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// It leads there alone.
    Nothing,
    /// It is to be this, which leads there alone.
    Turn(Action),
    /// It is to be this, which leads where it led before, and has the goal hang beside.
    Hang(Action, String),
    /// What the goal lacks.
    Wait(String),
}

impl Goal {
    /// What it lacks to be sent traffic.
    pub(crate) async fn lacks(&self, aws: &Aws, context: &Context) -> Result<Option<String>> {
        traffic::lacks(&aws.ecs, &aws.elb, context, &self.target, &self.group).await
    }

    /// What comes next for these actions, of which one that doesn't forward has nothing to be kept.
    pub(crate) async fn next(&self, aws: &Aws, context: &Context, found: &[Action]) -> Result<Next> {
        let groups = groups(found);
        if is_alone(&groups, &self.group) {
            return Ok(Next::Nothing);
        }
        let carrying: Vec<_> = groups.iter().filter(|(_, weight)| *weight > 0).cloned().collect();
        if carrying.is_empty() || carrying.iter().any(|(group, _)| *group == self.group) {
            return Ok(Next::Turn(forward(&self.group)));
        }
        Ok(match self.lacks(aws, context).await? {
            None => Next::Turn(forward(&self.group)),
            Some(lacks) if groups.iter().any(|(group, _)| *group == self.group) => Next::Wait(lacks),
            Some(lacks) => Next::Hang(beside(carrying, &self.group), lacks),
        })
    }
}

/// The target groups that actions forward to, with their weights.
pub(crate) fn groups(actions: &[Action]) -> Vec<(String, i32)> {
    let Some(action) = actions.first() else { return Vec::new() };
    let tuples = action.forward_config().map(ForwardActionConfig::target_groups).unwrap_or_default();
    match tuples {
        [] | [_] => {
            let alone = action.target_group_arn().or(tuples.first().and_then(|only| only.target_group_arn()));
            alone.map(|arn| (arn.to_owned(), 1)).into_iter().collect()
        }
        tuples => tuples
            .iter()
            .filter_map(|tuple| Some((tuple.target_group_arn()?.to_owned(), tuple.weight().unwrap_or(1))))
            .collect(),
    }
}

fn is_alone(groups: &[(String, i32)], group: &str) -> bool {
    matches!(groups, [(only, _)] if only == group)
}

/// As a plan tells it: the group, and those that share its traffic or hang beside it.
pub(crate) fn told(actions: &[Action]) -> String {
    let told = groups(actions).into_iter().map(|(group, weight)| match weight {
        0 => format!("{group} (weight 0)"),
        _ => group,
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

pub(crate) fn forward(group: &str) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(group).build()
}

/// What leads where it led before, with this group beside that gets nothing.
pub(crate) fn beside(carrying: Vec<(String, i32)>, group: &str) -> Action {
    let tuple = |(group, weight): (String, i32)| {
        TargetGroupTuple::builder().target_group_arn(group).weight(weight).build()
    };
    let tuples = carrying.into_iter().chain([(group.to_owned(), 0)]).map(tuple).collect();
    let config = ForwardActionConfig::builder().set_target_groups(Some(tuples)).build();
    Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
}
