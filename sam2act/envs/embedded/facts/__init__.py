"""Facts of the published scenes, one JSON file per task; `kit.facts` reads them."""
