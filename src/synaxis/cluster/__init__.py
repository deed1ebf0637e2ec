"""Who is in the cluster: members, placement of groups, suspicion of silent peers."""
