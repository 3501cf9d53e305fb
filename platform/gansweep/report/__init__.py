"""Shows the results of a sweep: status, leaderboard, figures, an HTML report, and the dashboard."""
