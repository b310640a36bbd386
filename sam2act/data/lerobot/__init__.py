"""LeRobot data sets of version 3: parquet, pictures or video, and what they keep of ours."""
