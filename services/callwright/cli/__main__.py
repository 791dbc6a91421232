from callwright.cli.app import main

main()
