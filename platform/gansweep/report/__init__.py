"""What a sweep found: status, leaderboard, figures, a report in one HTML file, the dashboard."""
