"""Who is responsible: one file a member, each looks at a model and returns what should change."""
