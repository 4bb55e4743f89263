"""Every operation of AWS that is called, as IAM writes it, and what for. The client refuses to call any other; a test
compares this table with the policy in deploy/aws/."""

from __future__ import annotations

from collections.abc import Mapping

OPERATIONS: Mapping[str, str] = {
    "autoscaling:CompleteLifecycleAction": "lets a warm instance into service, or a drained one go",
    "autoscaling:CreateOrUpdateTags": "marks a group as ours, and since when its starts are waited for",
    "autoscaling:DescribeAutoScalingGroups": "the groups and their instances, once a pass",
    "autoscaling:DescribeInstanceRefreshes": "whether a refresh replaces instances, before acting",
    "autoscaling:DescribeLifecycleHooks": "how long a hook waits, now and then",
    "autoscaling:DescribePolicies": "whether somebody else scales the group, before acting",
    "autoscaling:DescribeScalingActivities": "why a launch fails, and who changed the count",
    "autoscaling:DescribeScheduledActions": "whether somebody else scales the group by the clock, before acting",
    "autoscaling:RecordLifecycleActionHeartbeat": "keeps a hook waiting while an instance warms up or drains",
    "autoscaling:SetDesiredCapacity": "grows a group; lowers it only where no instance stands for the difference",
    "autoscaling:SetInstanceProtection": "keeps a loaded instance from being scaled in by the group itself",
    "autoscaling:TerminateInstanceInAutoScalingGroup": "ends the chosen instance once it is drained",
    "ce:GetCostAndUsage": "the bill, for `pennyweight bill import cost_explorer`",
    "ec2:CreateTags": "marks instances: ready, draining, left",
    "ec2:DescribeInstances": "address, market, launch time and tags of the groups' instances, once a pass",
    "ec2:DescribeInstanceTypes": "GPUs of an instance type that a spot price is for",
    "ec2:DescribeSpotPriceHistory": "spot prices",
    "ec2:GetSpotPlacementScores": "how likely spot capacity is to be had, a few times a day",
    "pricing:GetProducts": "on-demand prices",
    "sqs:ChangeMessageVisibility": "of the queue of interruptions, gives back what the next leader is to hear",
    "sqs:DeleteMessage": "of the queue of interruptions, what was heard",
    "sqs:GetQueueUrl": "of the queue of interruptions, where it is named and no URL is given",
    "sqs:ReceiveMessage": "listens to the queue of interruptions",
}

PREFIXES: Mapping[str, str] = {"auto-scaling": "autoscaling", "cost-explorer": "ce"}
"""What IAM calls a service, where it is not what botocore's own service id, hyphenated, is."""
